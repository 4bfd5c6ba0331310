import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["copydesk", "copydesk.data", "copydesk.ensemble", "copydesk.report", "copydesk.cli"]
)
def test_importing_it_loads_nothing_slow(module: str) -> None:
    program = f"import {module}, sys; print(sorted({{'torch', 'transformers', 'peft', 'pyarrow'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
