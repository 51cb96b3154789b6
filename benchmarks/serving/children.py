"""One fresh process for each predictor: import, load, first answer, then warm answers. Prints one JSON line.

    python children.py <variant> <folder> <warm answers>

``folder`` holds what ``__main__.py`` prepared. Nothing is imported here that a variant does not need itself.
"""

import sys
import time

VARIANT, FOLDER, WARM = sys.argv[1], sys.argv[2], int(sys.argv[3])


def rows(name):
    """Rows [n, features] of one model as float32, row-major."""
    with open(f"{FOLDER}/rows/{name}.f32", "rb") as file:
        return memoryview(file.read()).cast("f")


def names():
    with open(f"{FOLDER}/names.txt") as file:
        return [line.split() for line in file]  # name, features, outputs


def ours():
    from pipeline_lib.serve.bundle import open_bundle
    from pipeline_lib.serve.predictor import RULES, Predictor

    with open(f"{FOLDER}/sha256.txt") as file:
        bundle = open_bundle(f"{FOLDER}/release", file.read())
    predictor = Predictor.of(bundle)
    columns = tuple(bundle.policy["features"]["columns"])
    wide, width = rows("stored"), len(columns)
    students = [
        predictor.student(task["name"], int(task["serve_layer"]))
        for task in bundle.manifest["tasks"]
        if int(task["serve_layer"]) < RULES
    ]

    def answer(i):
        values = wide[i * width : (i + 1) * width]
        for student in students:
            predictor.predict(student, student.row(values, columns)[0])

    return answer, len(wide) // width


def kernel_alone():
    from pipeline_lib.forest.layout import Forest
    from pipeline_lib.serve.kernel import Kernel, find_kernel

    kernel, models = Kernel(find_kernel()), []
    for name, width, _ in names():
        with open(f"{FOLDER}/forest/{name}.forest", "rb") as file:
            models.append((kernel.model(Forest(file.read())), rows(name), int(width)))

    def answer(i):
        for model, values, width in models:
            model.raw(values[i * width : (i + 1) * width])

    return answer, 1000


def lightgbm_c():
    from pipeline_lib.forest.layout import Forest
    from pipeline_lib.serve.lightgbm_c import Booster, Library, find_library

    library, models = Library(find_library()), []
    for name, width, _ in names():
        with open(f"{FOLDER}/forest/{name}.forest", "rb") as file:
            forest = Forest(file.read())
        with open(f"{FOLDER}/text/{name}.txt", "rb") as file:
            models.append((Booster(library, forest, file.read(), None), rows(name), int(width)))

    def answer(i):
        for model, values, width in models:
            model.raw(values[i * width : (i + 1) * width])

    return answer, 1000


def _matrices():
    import numpy as np

    return [(n, np.fromfile(f"{FOLDER}/rows/{n}.f32", np.float32).reshape(-1, int(w))) for n, w, _ in names()]


def lightgbm_package():
    import lightgbm

    models = [(lightgbm.Booster(model_file=f"{FOLDER}/text/{n}.txt"), x) for n, x in _matrices()]

    def answer(i):
        for model, x in models:
            model.predict(x[i : i + 1], raw_score=True)

    return answer, 1000


def onnx():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    models = [(onnxruntime.InferenceSession(f"{FOLDER}/onnx/{n}.onnx", options), x) for n, x in _matrices()]

    def answer(i):
        for model, x in models:
            model.run(None, {"x": x[i : i + 1]})

    return answer, 1000


def gtil():
    import treelite

    models = [(treelite.Model.deserialize(f"{FOLDER}/treelite/{n}.bin"), x) for n, x in _matrices()]

    def answer(i):
        for model, x in models:
            treelite.gtil.predict(model, x[i : i + 1], nthread=1, pred_margin=True)

    return answer, 1000


def compiled_trees():
    import tl2cgen

    models = [(tl2cgen.Predictor(f"{FOLDER}/tl2cgen/{n}.so", nthread=1), x) for n, x in _matrices()]

    def answer(i):
        for model, x in models:
            model.predict(tl2cgen.DMatrix(x[i : i + 1], dtype="float32"), pred_margin=True)

    return answer, 1000


def numpy():
    import numpy  # noqa: F401

    return None, 0


def torch():
    import torch  # noqa: F401

    return None, 0


def handler():
    """The whole function: every read, reasons, guardrail and the durable record of each answer."""
    import json
    import os

    with open(f"{FOLDER}/environment.json") as file:
        os.environ.update(json.load(file))
    from pipeline_lib.serve.handler import handler

    body = {"channel": "branch", "access_reason": "branch_initiated", "operator_id": "o", "terminal_id": "t"}
    event = {
        "rawPath": "/v1/recommendations", "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST"}},
    }  # fmt: skip

    def answer(i):
        found = handler({**event, "body": json.dumps({**body, "customer_id": f"c{i}"})}, None)
        assert found["statusCode"] == 200, found
        assert '"receipt": {' in found["body"], found

    return answer, 1000


def nothing():
    return None, 0


def peak_mib():
    """Resident at most, of this program: ru_maxrss would inherit the parent's."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


def main():
    started = time.process_time()
    answer, count = globals()[VARIANT]()
    loaded = time.process_time()
    if answer:
        answer(0)
    first = time.process_time()
    rss, warm, cpu = peak_mib(), [], time.process_time()
    for i in range(WARM if answer else 0):
        before = time.perf_counter()
        answer(i % count)
        warm.append(time.perf_counter() - before)
    spent = time.process_time() - cpu  # of all: some kernels count a process in steps of milliseconds
    print([first * 1e3, (loaded - started) * 1e3, (first - loaded) * 1e3, rss, warm, spent])


main()
