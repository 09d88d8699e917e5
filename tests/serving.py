"""A trainer in a process of its own, on the Ray cluster at an address: python serving.py STORE ADDRESS

Says "served" when it has its first batch, then keeps its workers waiting.
"""

from __future__ import annotations

import sys
import time

from loading import make

from sdali.pipelines import ImageStore
from sdali.pipelines.remote import RemoteLoader

if __name__ == "__main__":
    loader = RemoteLoader(make(ImageStore(sys.argv[1]), 4), actors=1, address=sys.argv[2])
    batches = iter(loader)
    next(batches)
    print("served", flush=True)
    time.sleep(60)
