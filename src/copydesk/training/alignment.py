"""Which tokens of an edit the person changed, from the alignment of the response and its edit.

The alignment is that of the Levenshtein distance which costs the edit: insertions, deletions and replacements of whole
tokens. Loads no torch.
"""

from collections.abc import Hashable, Sequence
from itertools import groupby

from rapidfuzz.distance import Levenshtein


def find_changed_tokens(response_ids: Sequence[Hashable], edit_ids: Sequence[Hashable]) -> list[bool]:
    """Which tokens of an edit the person changed.

    A token of y' is changed if a shortest edit script from y to y' inserts it or puts it in the place of a token of y.
    A deletion leaves nothing in y' to mark. What the person wanted instead of the deleted tokens is the token that
    comes after them, so that token is changed where tokens were deleted and none were written in their place. The token
    that ends a turn follows the same rule: it is changed where y lost its last words, and unchanged where words were
    replaced or appended before it.

    Hence, where y and y' end with the same token, as in a `Triple`, some token is changed exactly if y' is not y. Where
    several scripts are equally short, the same one is taken every time.

    Args:
        response_ids: y, with its end of turn.
        edit_ids: y', with its end of turn.

    Returns:
        One value for each token of y'.
    """
    changed = [False] * len(edit_ids)
    script = Levenshtein.opcodes(response_ids, edit_ids)
    for kept, steps in groupby(script, key=lambda step: step.tag == "equal"):
        if kept:
            continue
        run = list(steps)
        start, end = run[0].dest_start, run[-1].dest_end
        only_deleted = start == end
        for place in range(start, min(end + only_deleted, len(edit_ids))):
            changed[place] = True
    return changed
