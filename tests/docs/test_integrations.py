"""The pages in docs/integrations/ do what they say: their code runs as it stands there, in processes of its own.

On small stores, each trains two epochs of three batches. Where a page promises exact resumption, a run that is killed
in mid-epoch and started again ends with the weights of one that was not.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detection_stores import make_detection_store
from pictures import make_store

from sdali.pipelines.store.measure import save
from sdali.pipelines.store.statistics import IMAGENET

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs" / "integrations"
NEEDS = {
    "pytorch": "torch",
    "lightning": "lightning",
    "timm": "timm",
    "huggingface": "transformers",
    "jax": "jax",
    "migration": "torchvision",
}
KILLED = 9  # by os._exit

# Put before a page's code: ends the process after the fourth step, once its checkpoint is whole.
KILL = {
    "pytorch": """
from pathlib import Path
real, count = Path.replace, [0]
def replace(self, target):
    real(self, target)
    count[0] += 1
    if count[0] == 4:
        os._exit(9)
Path.replace = replace
""",
    "lightning": """
from lightning.pytorch.callbacks import ModelCheckpoint
real = ModelCheckpoint._save_last_checkpoint
def save(self, trainer, candidates):
    real(self, trainer, candidates)
    if trainer.global_step == 4:
        os._exit(9)
ModelCheckpoint._save_last_checkpoint = save
""",
    "huggingface": """
from transformers.trainer_callback import CallbackHandler
real = CallbackHandler.on_save
def on_save(self, args, state, control):
    control = real(self, args, state, control)
    if state.global_step == 4:
        os._exit(9)
    return control
CallbackHandler.on_save = on_save
""",
}
WEIGHTS = {
    "pytorch": "model.state_dict()",
    "lightning": "trainer.model.state_dict()",
    "huggingface": "model.state_dict()",
}
SEEN = """
from sdali.pipelines.loader.batches import Batches
make, seen = Batches.of, []
def of(self, rows, outputs, padding):
    batch = make(self, rows, outputs, padding)
    if self.targets is None and len(rows) == 16:
        seen.extend(batch["index"].tolist())
    return batch
Batches.of = of
"""


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)


def needed(page: str) -> str:
    if importlib.util.find_spec(NEEDS[page]) is None:
        pytest.skip(f"{NEEDS[page]} is not installed: pip install 'sdali[frameworks]'")
    return blocks(page)[0]


NORMALISED = """
from sdali.pipelines import classification
real = classification.test_loader
def test_loader(*store, **options):
    print("tested with", options["statistics"].mean.tolist())
    return real(*store, **options)
classification.test_loader = test_loader
"""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    save(make_store(folder / "train.lmdb", 50, classes=5), replace(IMAGENET, mean=np.array([0.1, 0.2, 0.3])))
    make_store(folder / "val.lmdb", 40, classes=5)
    make_detection_store(folder / "boxes.lmdb", 12)
    return folder


@pytest.fixture
def workplace(stores: Path, tmp_path: Path) -> Path:
    """An empty folder but for the stores that the pages name."""
    return linked(stores, tmp_path)


def linked(stores: Path, folder: Path) -> Path:
    for file in stores.glob("*.lmdb*"):  # stores, and the statistics beside them
        (folder / file.name).symlink_to(file)
    return folder


def run(code: str, folder: Path, *, before: str = "", after: str = "", status: int = 0, ranks: int = 1) -> str:
    """What the code prints, in processes of its own, one thread each; its exit status must be `status`."""
    script = folder / "script.py"
    script.write_text(f"import os\n{before}\n{code}\n{after}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    said = subprocess.run(
        [sys.executable, *launcher, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert said.returncode == status, said.stderr[-4000:]
    return said.stdout


@pytest.mark.parametrize("page", NEEDS)
def test_the_example_is_short(page: str) -> None:
    """Under 40 lines of code, blank ones and imports counted in."""
    for block in blocks(page):
        assert 0 < sum(1 for line in block.splitlines() if line.strip()) < 40


@pytest.mark.parametrize("page", ["timm", "jax"])
def test_the_example_trains(page: str, workplace: Path) -> None:
    """Two epochs, each of 48 different samples of the 50, with a finite loss."""
    code = needed(page)
    check = "print(len(seen), len(set(seen[:48])), len(set(seen[48:])))"
    *losses, served = run(code, workplace, before=SEEN, after=check).splitlines()
    assert served == "96 48 48"
    assert len(losses) == 2 and all(0 < float(line.split()[-1]) < 10 for line in losses)


@pytest.mark.parametrize("page", KILL)
def test_the_example_trains_tests_and_survives_a_kill(page: str, stores: Path, workplace: Path) -> None:
    """It normalises tests by what was measured on the training store. Killed with its fourth step of six and started
    again, it takes two steps more and ends with the weights of a run left alone.
    """
    code = needed(page)
    say = f"""
import hashlib, torch
weights = {WEIGHTS[page]}
digest = hashlib.sha256(b"".join(weights[name].cpu().numpy().tobytes() for name in sorted(weights))).hexdigest()
print(f"\\n{{len(seen)}} {{digest}}")
"""
    alone = workplace / "alone"
    alone.mkdir()
    printed = run(code, linked(stores, alone), before=SEEN + NORMALISED, after=say)
    assert "tested with [0.1, 0.2, 0.3]" in printed
    whole = printed.split()[-2:]
    run(code, workplace, before=KILL[page], status=KILLED)
    rest = run(code, workplace, before=SEEN, after=say).split()[-2:]
    assert whole[0] == "96" and rest == ["32", whole[1]]


ALONE = """
if args.world_size > 1:
    for buffer in model.buffers():  # each rank has seen other batches in training
        torch.distributed.broadcast(buffer, 0)
found = trainer.evaluate()
total = hits = 0.0
whole = classification.test_loader("val.lmdb", batch_size=7, statistics=statistics, size=96, device="cpu", threads=1)
with torch.no_grad():
    for batch in whole:
        scores = model.eval()(batch["image"]).logits
        total += torch.nn.functional.cross_entropy(scores, batch["label"], reduction="sum").item()
        hits += (scores.argmax(1) == batch["label"]).sum().item()
if args.process_index == 0:
    print("compared", found["eval_loss"], found["eval_top1"], total / len(whole.dataset), hits / len(whole.dataset))
"""


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("batch_size", [32, 13])
def test_hugging_faces_figures_are_those_of_one_process(workplace: Path, ranks: int, batch_size: int) -> None:
    """Of 40 images, so that last batches are short, and with 13 to a batch of other lengths on each rank: loss and
    top-1 as a loop over all images has them.
    """
    code = needed("huggingface").replace("batch_size=32", f"batch_size={batch_size}")
    code = code.replace('"device": args.device', '"device": "cpu", "threads": 1')
    printed = run("import torch\n" + code, workplace, after=ALONE, ranks=ranks)
    figures = [float(word) for word in printed.partition("compared ")[2].splitlines()[0].split()]
    assert figures[:2] == pytest.approx(figures[2:], rel=1e-5)


def test_accelerate_applies_the_last_gradients_of_an_epoch(workplace: Path) -> None:
    """Of the page's three batches, accumulated by two: weights move twice."""
    _, code = blocks("huggingface")
    count = """
import torch
step, steps = torch.optim.SGD.step, []
def stepped(self, *arguments, **options):
    steps.append(1)
    return step(self, *arguments, **options)
torch.optim.SGD.step = stepped
"""
    assert run(code, workplace, before=count, after="print(len(loader), len(steps))") == "3 2\n"


def test_jax_has_the_images_where_dali_wrote_them(workplace: Path) -> None:
    """The array's address is the tensor's, and its values are; labels are equal."""
    code = needed("jax").split("\n\nloader = ")[0]
    check = """
for dtype in ("float32", "float16", "bfloat16", "uint8"):
    loader = classification.train_loader("train.lmdb", batch_size=16, size=33, dtype=dtype)
    for batch in loader:
        images, labels = arrays(batch)
        assert images.unsafe_buffer_pointer() == batch["image"].data_ptr()
        assert str(images.dtype) == dtype and labels.tolist() == batch["label"].tolist()
        assert images.astype("float32").tolist() == batch["image"].float().tolist()
print(len(loader))
"""
    assert run(code, workplace, after=check) == "3\n"


def test_torchvisions_detector_learns_from_the_example(workplace: Path) -> None:
    _, code = blocks("pytorch")
    assert run(code, workplace, after="print(loss.isfinite().item(), len(targets))") == "True 2\n"


def test_augmentation_after_the_loader_does_what_the_page_says(workplace: Path) -> None:
    """Images are finished and mixed on their device, targets are soft: rows that sum to 1."""
    (code,) = blocks("migration")
    after = "print(images.dtype, tuple(images.shape), targets.shape, targets.sum(1).sub(1).abs().max().item() < 1e-5)"
    assert run(code, workplace, after=after) == "torch.float32 (16, 3, 96, 96) torch.Size([16, 5]) True\n"
