import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["copydesk", "copydesk.log", "copydesk.ensemble", "copydesk.report", "copydesk.cli"])
def test_importing_it_loads_no_torch(module: str) -> None:
    program = f"import {module}, sys; print(sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"
