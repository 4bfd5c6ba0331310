"""How the shared policy and each person's own are trained.

By imitation: of the demo's methods it needs the fewest edits, whatever the length of the log (docs/results.md), and the
people here have few. As adapters on one model, which can be served together.
"""

from dataclasses import replace

from copydesk.simulate.recipe import RECIPE

# The demo's settings but for what an adapter changes. Its rate is the best of four on a user (p = 0.6) and a seed that
# no table uses, over logs of 38 and of 300 edits (`runs/personal.py rate`).
PERSONAL_RECIPE = replace(RECIPE["sft"], full=False, learning_rate=2e-2)
"""The same for everybody's edits and for one person's: with few edits it takes few steps."""
