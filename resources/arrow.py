"""pyarrow.compute without its stubs, which know fewer kinds of arguments than its functions take."""

from typing import Any

import pyarrow.compute

compute: Any = pyarrow.compute
