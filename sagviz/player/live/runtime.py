"""ONNX Runtime Web, which runs the networks in a browser: taken out of its package of the npm
registry, in the one version that was tested.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sagviz.errors import ArgumentError
from sagviz.files import expanded

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"  # as `npm pack` calls it
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FETCH = f"fetch it with: npm pack onnxruntime-web@{VERSION}"
BUILDS = {  # by what they compute on: the module, and the WebAssembly that it runs
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}
EXPORTS = re.compile(r"export\{([^}]*)\};")
NOTICE = (Path(__file__).parent / "LICENSE.onnxruntime").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Runtime:
    """What a page needs of it.

    Attributes:
        script: defines `RUNTIMES`, a function for each build that makes its `ort`; fetches nothing.
        wasm: what each build runs, to be given to it as bytes.
    """

    script: str
    wasm: dict[str, bytes]


def runtime(package: str | Path = PACKAGE) -> Runtime:
    """The runtime out of its package, its modules made one plain script.

    Args:
        package: the file that `npm pack` wrote.

    Raises:
        ArgumentError: it is not there, or is another one.
    """
    path = expanded(package)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArgumentError(
            f"a live page carries the runtime {path}, which cannot be read ({error.strerror});"
            f" {FETCH}, and give runtime= its path"
        ) from error
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise ArgumentError(f"{path} is not the package {PACKAGE} that was tested; {FETCH}")
    with tarfile.open(path) as archive:
        builds = {
            name: [_member(archive, f"package/dist/{file}") for file in files]
            for name, files in BUILDS.items()
        }
    made = (f"{name}: {_as_function(module.decode())}" for name, (module, _) in builds.items())
    script = f"const RUNTIMES = {{{', '.join(made)}}};"
    return Runtime(script, {name: wasm for name, (_, wasm) in builds.items()})


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"a package without {name}"
    return file.read()


def _as_function(module: str) -> str:
    """A module as a function that gives its exports: a page opened from the disk has no module
    workers.
    """
    (names,) = EXPORTS.findall(module)
    pairs = [name.split(" as ") for name in names.split(",")]
    fields = ", ".join(f"{outer}: {inner}" for inner, outer in pairs if outer != "default")
    body = EXPORTS.sub(f"return {{ {fields} }};", module).partition("\n//# source")[0]
    return f"() => {{{body.replace('import.meta.url', 'self.location.href')}}}"
