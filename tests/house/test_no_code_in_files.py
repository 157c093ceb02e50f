"""No file that sagviz opens can run code: no pickle but of the user's own classes, no code of a
model's repository, weights from safetensors unless a file is asked for by its name.
"""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sources import PACKAGE, imports
from tiny import is_one_sentence

import sagviz as sv
from sagviz.errors import SagvizError

# the user's own terms, handed from their notebook to the kernel of their report
PICKLES = {"reports/own_terms.py"}
PICKLERS = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml"}
RUN = {"eval", "exec", "compile", "__import__"}
LOADS = {"torch.load": "weights_only=True", "np.load": "", "numpy.load": ""}


def faults(source: str, pickles: bool = False) -> list[str]:
    """What of a file may run what it reads."""
    found = (
        [] if pickles else [name for name in imports(source) if name.partition(".")[0] in PICKLERS]
    )
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name, words = ast.unparse(node.func), [ast.unparse(each) for each in node.keywords]
            found += [name] if name in RUN else []
            found += [name] if name in LOADS and LOADS[name] not in ("", *words) else []
            found += [word for word in words if word.startswith(("trust_remote", "allow_pickle"))]
    return found


@pytest.mark.slow
def test_nothing_of_the_package_can_run_what_it_reads() -> None:
    found = {
        name: faults(path.read_text(encoding="utf-8"), name in PICKLES)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in [path.relative_to(PACKAGE).as_posix()]
    }
    assert {name: each for name, each in found.items() if each} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "exec(text)",
    ],
)
def test_planted_ways_are_found(source: str) -> None:
    assert len(faults(source)) == 1


class Runs:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


CODE = "from pathlib import Path\nPath({path!r}).touch()\nclass Evil: pass\n"


def bin_weights(copy: Path, ran: Path) -> object:
    (copy / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"weight": Runs(ran)}, copy / "unet" / "diffusion_pytorch_model.bin")
    return copy


def sound_bin_weights(copy: Path, ran: Path) -> object:
    """Without any code: that they could have had it is enough."""
    del ran
    path = copy / "text_encoder" / "model.safetensors"
    path.unlink()
    torch.save({"weight": torch.ones(1)}, path.with_name("pytorch_model.bin"))
    return copy


def checkpoint(copy: Path, ran: Path) -> object:
    path = copy / "evil.ckpt"
    path.write_bytes(pickle.dumps(Runs(ran)))
    return path


def torch_checkpoint(copy: Path, ran: Path) -> object:
    torch.save({"state_dict": Runs(ran)}, copy / "evil.pt")
    return copy / "evil.pt"


def own_class(copy: Path, ran: Path) -> object:
    (copy / "evil.py").write_text(CODE.format(path=str(ran)))
    (copy / "unet" / "evil.py").write_text(CODE.format(path=str(ran)))
    index = json.loads((copy / "model_index.json").read_text())
    index |= {"unet": ["evil", "Evil"], "_class_name": ["evil", "Evil"]}
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


def auto_map(copy: Path, ran: Path) -> object:
    """What transformers and diffusers follow when remote code is trusted."""
    for part in ("text_encoder", "unet", "tokenizer"):
        (copy / part / "evil.py").write_text(CODE.format(path=str(ran)))
        for path in (copy / part).glob("*config.json"):
            mapped = {"auto_map": {"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}}
            path.write_text(json.dumps(json.loads(path.read_text()) | mapped))
    return copy


WAYS: dict[str, Callable[[Path, Path], object]] = {
    way.__name__: way
    for way in (bin_weights, sound_bin_weights, checkpoint, torch_checkpoint, own_class, auto_map)
}


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    return copy


@pytest.mark.parametrize("way", WAYS)
def test_a_models_files_run_nothing(copied: Path, tmp_path: Path, way: str) -> None:
    ran = tmp_path / "ran"
    source = WAYS[way](copied, ran)
    if way == "auto_map":  # the classes that its index names are used
        assert type(sv.load(source).network).__module__.startswith("diffusers.")
    else:
        with pytest.raises(SagvizError) as error:
            sv.load(source)
        assert is_one_sentence(error.value)
    assert not ran.exists()


def test_the_pickles_would_run(tmp_path: Path) -> None:
    """What the test above would see."""
    pickle.loads(pickle.dumps(Runs(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()
