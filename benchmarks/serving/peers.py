"""Convert the prepared models for other people's predictors: ``python peers.py FOLDER``, in their environment.

Students with a custom objective are read as regressions (one output) or classes (several), which costs the peers the
softmax and nothing else. Compiling trees to machine code (tl2cgen) takes minutes.
"""

import sys
from pathlib import Path

import lightgbm
import tl2cgen
import treelite
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

FOLDER = Path(sys.argv[1])
for kind in ("onnx", "treelite", "tl2cgen"):
    (FOLDER / kind).mkdir()
for line in (FOLDER / "names.txt").read_text().splitlines():
    name, width, outputs = line.split()
    text = (FOLDER / "text" / f"{name}.txt").read_text()
    objective = "regression" if outputs == "1" else f"multiclass num_class:{outputs}"
    if "[objective: custom]" in text:
        text = text.replace("\nfeature_names=", f"\nobjective={objective}\nfeature_names=", 1)
        text = text.replace("[objective: custom]", f"[objective: {objective.split()[0]}]")
    booster = lightgbm.Booster(model_str=text)
    trees = treelite.frontend.from_lightgbm(booster)
    trees.serialize(str(FOLDER / "treelite" / f"{name}.bin"))
    library = str(FOLDER / "tl2cgen" / f"{name}.so")
    tl2cgen.export_lib(trees, toolchain="gcc", libpath=library, params={"parallel_comp": 8}, nthread=1)
    shape = [("x", FloatTensorType([None, int(width)]))]
    model = convert_lightgbm(booster, initial_types=shape, zipmap=False)
    (FOLDER / "onnx" / f"{name}.onnx").write_bytes(model.SerializeToString())
