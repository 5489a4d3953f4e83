"""The Arrow types that the providers' columns are made of."""

from __future__ import annotations

import pyarrow as pa

TEXT = pa.string()
FLAG = pa.bool_()
WHOLE = pa.int64()
NUMBER = pa.float64()
MOMENT = pa.timestamp("us", "UTC")
