"""Checkpoints of PyTorch: files made here instruction by instruction, files that torch wrote, and hostile ones."""

import io
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save as save_safetensors

from data_prep.backbones import embed, torchfile, weights
from fedn_jax.core.errors import UserError
from fedn_jax.models import resnet

WIDTHS = (3, 4, 5, 6)


# ---- Files without torch --------------------------------------------------------------------------------------------


class Code(bytes):
    """Pickle instructions that leave one value on the stack."""


STORAGES = {"f2": "Half", "f4": "Float", "f8": "Double", "i8": "Long", "u1": "Byte", "b1": "Bool"}


class Writer:
    """A pickle of protocol 2 as torch.save writes it; tensors are NumPy arrays."""

    def __init__(self):
        self.storages = []

    def encode(self, value):
        match value:
            case Code():
                return value
            case None | True | False:
                return {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int():
                return b"J" + struct.pack("<i", value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
            case tuple():
                return b"(" + b"".join(map(self.encode, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.encode, value)) + b"e"
            case dict():
                return b"}(" + b"".join(self.encode(part) for item in value.items() for part in item) + b"u"
            case np.ndarray():
                kind = STORAGES[value.dtype.str[1:]]
                steps = tuple(np.cumprod((1, *value.shape[:0:-1]))[::-1].tolist()) if value.ndim else ()
                return self.tensor(value.tobytes(), kind, value.size, 0, value.shape, steps)

    def tensor(self, raw, kind, count, offset, shape, strides, key=None):
        key = str(len(self.storages)) if key is None else key
        self.storages.append((key, count, raw))
        storage = self.encode(("storage", name("torch", f"{kind}Storage"), key, "cpu", count)) + b"Q"
        hooks = self.call("collections", "OrderedDict")
        return self.call("torch._utils", "_rebuild_tensor_v2", Code(storage), offset, shape, strides, False, hooks)

    def call(self, module, function, *arguments):
        return Code(name(module, function) + self.encode(arguments) + b"R")


def name(module, value):
    return Code(f"c{module}\n{value}\n".encode())


def zip_of(code, storages=(), method=zipfile.ZIP_STORED, **more):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("archive/data.pkl", code)
        for key, _, raw in storages:
            archive.writestr(f"archive/data/{key}", raw)
        for entry, content in more.items():
            archive.writestr(f"archive/{entry}", content)
    return stream.getvalue()


def legacy_of(code, storages=()):
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    keys = pickle.dumps([key for key, _, _ in storages], 2)
    rest = b"".join(struct.pack("<q", count) + raw for _, count, raw in storages)
    return b"".join(pickle.dumps(value, 2) for value in head) + code + keys + rest


FORMATS = {"zip": zip_of, "legacy": legacy_of}


def saved(value, form="zip"):
    """What torch.save would write, for a value of dicts, lists and arrays, or for instructions."""
    writer = Writer()
    code = b"\x80\x02" + writer.encode(value) + b"."
    return FORMATS[form](code, writer.storages)


def shapes(widths=WIDTHS, blocks=(2, 2, 2, 2)):
    """torchvision's names and shapes of a ResNet of basic blocks."""
    units = [("conv1", "bn1", (widths[0], 3, 7, 7))]
    for stage, width in enumerate(widths):
        for block in range(blocks[stage]):
            before = width if block else widths[max(stage - 1, 0)]
            units.append((f"layer{stage + 1}.{block}.conv1", f"layer{stage + 1}.{block}.bn1", (width, before, 3, 3)))
            units.append((f"layer{stage + 1}.{block}.conv2", f"layer{stage + 1}.{block}.bn2", (width, width, 3, 3)))
            if stage and not block:
                short = f"layer{stage + 1}.{block}.downsample"
                units.append((f"{short}.0", f"{short}.1", (width, before, 1, 1)))
    found = {}
    for conv, norm, shape in units:
        found[f"{conv}.weight"] = shape
        found |= {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"{norm}.num_batches_tracked"] = ()
    return found | {"fc.weight": (8, widths[-1]), "fc.bias": (8,)}


def state(widths=WIDTHS, blocks=(2, 2, 2, 2)):
    rng = np.random.default_rng(0)
    make = lambda name, shape: (
        np.array(7) if name.endswith("tracked") else rng.uniform(0.1, 1, shape).astype(np.float32)
    )
    return {name: make(name, shape) for name, shape in shapes(widths, blocks).items()}


@pytest.fixture(scope="module")
def tensors():
    return state()


@pytest.fixture
def file(tmp_path):
    """Content -> path; the name says nothing about the format."""

    def write(content):
        path = tmp_path / "checkpoint"
        path.write_bytes(content)
        return path

    return write


def same(got, expected):
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert got[key].dtype == array.dtype and got[key].shape == array.shape, key
        np.testing.assert_array_equal(got[key], array)


# ---- Formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_torch_files(form, tensors, file):
    same(weights.read(file(saved(tensors, form))), tensors)


def test_safetensors(tensors, file):
    same(weights.read(file(save_safetensors(tensors))), tensors)
    small = {"a": np.array([1.5, -2], ml_dtypes.bfloat16), "b": np.zeros((0, 3), np.float16), "c": np.array(True)}
    same(weights.read(file(save_safetensors(small))), small)
    with pytest.raises(UserError, match="type of a must be one of F64, .*got 'U32'"):
        weights.read(file(save_safetensors({"a": np.zeros(2, np.uint32)})))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i8", "u1", "b1"])
def test_types(form, dtype, file):
    values = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.array(3).astype(dtype)}
    same(weights.read(file(saved(values, form))), values)


@pytest.mark.parametrize("form", FORMATS)
def test_bfloat16_and_shared_storage(form, file):
    values = np.arange(24).astype(ml_dtypes.bfloat16)
    writer = Writer()
    whole = writer.tensor(values.tobytes(), "BFloat16", 24, 0, (24,), (1,), "s")
    turned = writer.tensor(b"", "BFloat16", 24, 4, (3, 4), (1, 5), "s")  # columns of a matrix, from its fifth number
    code = b"\x80\x02" + writer.encode({"whole": whole, "turned": turned}) + b"."
    got = weights.read(file(FORMATS[form](code, writer.storages[:1])))
    turned = np.array([[4 + i + 5 * j for j in range(4)] for i in range(3)], values.dtype)
    same(got, {"whole": values, "turned": turned})


def test_big_endian_zip(file):
    values = np.arange(5, dtype=np.float32)
    writer = Writer()
    code = b"\x80\x02" + writer.encode({"a": values}) + b"."
    swapped = [(key, count, np.frombuffer(raw, "<f4").astype(">f4").tobytes()) for key, count, raw in writer.storages]
    same(weights.read(file(zip_of(code, swapped, byteorder=b"big"))), {"a": values})
    same(weights.read(file(zip_of(code, writer.storages, byteorder=b"little"))), {"a": values})


def test_what_checkpoints_carry_beside_weights(file):
    """Metrics as NumPy scalars, versions as attributes of the state dict, parameters, Python 2's ordered dicts."""
    writer = Writer()
    number = Code(writer.call("numpy", "dtype", "f8", False, True) + writer.encode((3, "<", None)) + b"b")
    best = writer.call("numpy.core.multiarray", "scalar", number, writer.call("_codecs", "encode", "x", "latin1"))
    values = np.ones((2, 2), np.float32)
    parameter = writer.call("torch._utils", "_rebuild_parameter", Code(writer.encode(values)), True, None)
    pairs = writer.call("collections", "OrderedDict", [["w", parameter], ["versions", 1]])
    inner = Code(pairs + writer.encode({"_metadata": {"": {"version": 1}}}) + b"b")
    saved_value = {
        "epoch": 3,
        "best": best,
        "arch": "resnet18",
        5: 1.5,
        "optimizer": {"a": [None]},
        "state_dict": inner,
    }
    code = b"\x80\x02" + writer.encode(saved_value) + b"."
    same(weights.read(file(zip_of(code, writer.storages))), {"w": values})


@pytest.mark.parametrize("container", [None, *weights.CONTAINERS])
@pytest.mark.parametrize("form", FORMATS)
def test_containers(container, form, file):
    values = {"w": np.ones(3, np.float32)}
    content = values if container is None else {"epoch": 1, container: values, "optimizer": {"state": {}}}
    same(weights.read(file(saved(content, form))), values)


def test_not_a_checkpoint(file, tmp_path):
    refused = lambda content: pytest.raises(UserError, weights.read, file(content)).value.args[0]
    assert "no such file" in pytest.raises(UserError, weights.read, tmp_path / "none.pth").value.args[0]
    assert "top level, which holds epoch, weird" in refused(saved({"epoch": 1, "weird": {"w": np.ones(2)}}))
    assert "holds a list" in refused(saved([np.ones(2)]))
    assert "holds a Tensor" in refused(saved(np.ones(2)))
    assert "begins with b'<!DOCTYPE html>'" in refused(b"<!DOCTYPE html>").replace("\\n", "")
    assert "begins with b''" in refused(b"")
    assert "a pickle that torch.save did not write" in refused(pickle.dumps({"a": 1}))
    assert "compressed zip" in refused(zip_of(b"x" * 99, method=zipfile.ZIP_DEFLATED))
    assert "TorchScript" in refused(zip_of(b"\x80\x02}.", **{"constants.pkl": b""}))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "without data.pkl" in refused(stream.getvalue())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    assert "tar archive" in refused(stream.getvalue())


# ---- Hostile files --------------------------------------------------------------------------------------------------


class Runs:
    """What attackers pickle."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(sentinel):
    import os

    shell, python = f"touch {sentinel}", f"open({str(sentinel)!r}, 'w').close()"
    writer = Writer()
    system = writer.call("os", "system", shell)
    return {
        "os.system": pickle.dumps(Runs(os.system, shell), 2),
        "nested": pickle.dumps({"state_dict": {"w": Runs(os.system, shell)}}, 2),
        "protocol 4": pickle.dumps(Runs(os.system, shell), 4),
        "eval": pickle.dumps(Runs(eval, python), 2),
        "exec": pickle.dumps([Runs(exec, python)], 3),
        "Popen": pickle.dumps(Runs(subprocess.Popen, ["touch", str(sentinel)]), 2),
        "INST": b"(" + writer.encode(shell) + b"ios\nsystem\n.",
        "OBJ": b"(" + name("os", "system") + writer.encode(shell) + b"o.",
        "as a key": b"\x80\x02}" + system + b"K\x01s.",
        "popped": b"\x80\x02" + system + b"0}.",
        "dotted": b"\x80\x04" + writer.encode("torch._utils") + writer.encode("os.system") + b"\x93"
        + writer.encode((shell,)) + b"R.",
        "as a storage": b"\x80\x02" + writer.encode(("storage", system, "0", "cpu", 1)) + b"Q.",
    }  # fmt: skip


ATTACKS = list(attacks(""))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("form", [*FORMATS, "bare"])
def test_attacks_are_refused_and_do_not_run(attack, form, tmp_path, file):
    sentinel = tmp_path / "sentinel"
    code = attacks(sentinel)[attack]
    path = file(code if form == "bare" else FORMATS[form](code))
    with pytest.raises(UserError) as error:
        weights.read(path)
    assert not sentinel.exists()
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("attack", ["os.system", "nested", "eval", "INST", "popped"])
def test_the_attacks_are_real(attack, tmp_path):
    sentinel = tmp_path / "sentinel"
    pickle.loads(attacks(sentinel)[attack])
    assert sentinel.exists()


@pytest.mark.parametrize("form", FORMATS)
def test_refusal_names_the_object_and_what_to_do(form, file):
    for module, value in (("argparse", "Namespace"), ("torchvision.models.resnet", "ResNet"), ("__main__", "Net")):
        code = b"\x80\x02}" + Writer().encode("args") + name(module, value) + b")\x81s."
        with pytest.raises(UserError, match=rf"needs {module}\.{value}: .*save only model.state_dict\(\)"):
            weights.read(file(FORMATS[form](code)))


def test_attributes_change_nothing_of_ours(file):
    """BUILD on a function would set its defaults in an ordinary unpickler."""
    writer = Writer()
    target = name("torch._utils", "_rebuild_tensor_v2")
    change = Code(target + writer.encode((None, {"__defaults__": (1, 2, 3), "__code__": None})) + b"b")
    before = torchfile._tensor.__defaults__
    content = saved({"w": np.ones(2, np.float32), "x": change})
    same(weights.read(file(content)), {"w": np.ones(2, np.float32)})
    assert torchfile._tensor.__defaults__ == before


def lengths():
    """Instructions that promise more than there is, and shapes that do not fit their storage."""
    writer, raw = Writer(), np.arange(6, dtype=np.float32).tobytes()
    tensor = lambda *where: writer.tensor(raw, "Float", *where, "0")
    bomb = b")" + b"".join(b"q\x01" + b"h\x01\x86" for _ in range(64))  # a tuple of 2 ** 64, if anybody hashes it
    return {
        "string": b"X" + struct.pack("<I", 2**31) + b"short",
        "bytes": b"\x8e" + struct.pack("<Q", 2**62) + b"short",
        "number": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1",
        "memo": b"}r" + struct.pack("<I", 2**32 - 1) + b"0",
        "key": b"}" + bomb + b"K\x01s",
        "no marks": b"}u",
        "no stack": b"R",
        "too long": tensor(6, 0, (7,), (1,)),
        "too far": tensor(6, 4, (3,), (1,)),
        "strides": tensor(6, 0, (2, 3), (4, 1)),
        "negative stride": tensor(6, 5, (6,), (-1,)),
        "negative offset": tensor(6, -2, (2,), (1,)),
        "repeated": tensor(6, 0, (2**30, 2**30), (0, 0)),
        "axes": tensor(6, 0, (1,) * 70, (1,) * 70),
        "empty but huge": tensor(6, 0, (0, 2**31 - 1, 2**31 - 1, 2**31 - 1), (1, 1, 1, 1)),
        "shape and strides": tensor(6, 0, (2, 3), (1,)),
        "storage promises": tensor(2**31 - 1, 0, (2**31 - 1,), (1,)),
        "negative storage": tensor(-6, 0, (0,), (1,)),
        "no storage": writer.call("torch._utils", "_rebuild_tensor_v2", None, 0, (1,), (1,), False, None),
        "text as shape": tensor(6, 0, "12", "11"),
        "negated": Code(tensor(6, 0, (2,), (1,))[:-2] + writer.encode({"neg": True}) + b"tR"),
        "not callable": b"}" + writer.encode(()) + b"R",
        "storage called": name("torch", "FloatStorage") + writer.encode((2**31 - 1,)) + b"R",
    }  # fmt: skip


@pytest.mark.parametrize("case", list(lengths()))
@pytest.mark.parametrize("form", FORMATS)
def test_no_length_is_believed(case, form, file):
    value = lengths()[case]
    code = b"\x80\x02}" + Writer().encode("w") + value + b"s."
    path = file(FORMATS[form](code, [("0", 6, np.arange(6, dtype=np.float32).tobytes())]))
    with pytest.raises(UserError) as error:
        weights.read(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_zip_that_counts_bytes_twice(file):
    """The directory may name the same bytes often."""
    content = zip_of(b"\x80\x02}.", [("0", 1, b"\0" * 4000)])
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = content[content.index(b"PK\x01\x02", start + 1) : end]
    directory = content[start:end] + entry * 5
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 7, 7, len(directory), start, 0)
    with pytest.raises(UserError, match="longer than the file"):
        weights.read(file(content[:start] + directory + tail))


SMALL = {"state_dict": {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3)}, "epoch": 2}
CONTENTS = {form: saved(SMALL, form) for form in FORMATS} | {"safetensors": save_safetensors(SMALL["state_dict"])}


@pytest.mark.parametrize("form", CONTENTS)
def test_cut_off_anywhere(form, file):
    for end in range(len(CONTENTS[form])):
        with pytest.raises(UserError) as error:
            weights.read(file(CONTENTS[form][:end]))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", CONTENTS)
def test_damaged_anywhere(form, file):
    """Bits flip, bytes are lost or doubled: a result or one line, nothing else."""
    rng, refused = np.random.default_rng(0), 0
    for _ in range(600):
        content = bytearray(CONTENTS[form])
        at = int(rng.integers(len(content)))
        match rng.integers(3):
            case 0:
                content[at] ^= 1 << int(rng.integers(8))
            case 1:
                del content[at : at + int(rng.integers(1, 9))]
            case 2:
                content[at:at] = rng.bytes(int(rng.integers(1, 9)))
        try:
            weights.read(file(bytes(content)))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_random_programs(file):
    """Pickle instructions in any order."""
    rng = np.random.default_rng(0)
    codes = np.frombuffer(
        b"(.0NKJGX}]()tlaesuqhrjR\x85\x86\x87\x88\x89QbUcos\nsystem\ntorch\nSize\n\x93\x94\x95", np.uint8
    )
    for _ in range(1000):
        content = legacy_of(b"\x80\x02" + rng.choice(codes, rng.integers(1, 40)).tobytes() + b".")
        with pytest.raises(UserError):
            weights.read(file(content))


# ---- Names ----------------------------------------------------------------------------------------------------------

CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def of_children(name):
    first, _, rest = name.partition(".")
    return f"features.{CHILDREN[first]}.{rest}" if first in CHILDREN else name


RENAMES = {
    "torchvision": lambda name: name,
    "module.": lambda name: f"module.{name}",
    "base.": lambda name: name if name.startswith("fc") else f"base.{name}",
    "backbone.": lambda name: f"backbone.{name}",
    "encoder.": lambda name: f"encoder.{name}",
    "features.N.": of_children,
    "module.base.": lambda name: f"module.base.{name}",
    "module.features.N.": lambda name: f"module.{of_children(name)}",
    "backbone.N.": lambda name: of_children(name).replace("features", "backbone"),
    "module.module.encoder.": lambda name: f"module.module.encoder.{name}",
}


@pytest.fixture(scope="module")
def plain(tensors):
    return weights.convert(tensors)


@pytest.mark.parametrize("style", RENAMES)
def test_styles(style, tensors, plain):
    rename = RENAMES[style]
    renamed = {rename(name): array for name, array in tensors.items()}
    got = weights.convert(renamed)
    assert got.style == style and got.widths == WIDTHS
    assert got.used == tuple(map(rename, plain.used))
    assert got.unexpected == tuple(sorted(map(rename, ("fc.bias", "fc.weight"))))
    jax.tree.map(np.testing.assert_array_equal, got.params, plain.params)


@pytest.mark.parametrize("name", weights.STYLES)
def test_every_style_has_one_signature(name):
    assert weights.STYLES[name]("heads.3.weight") in (None, "heads.3.weight")


@pytest.mark.parametrize("container", [None, *weights.CONTAINERS])
@pytest.mark.parametrize("style", RENAMES)
def test_containers_and_styles(container, style, file, plain, tensors):
    renamed = {RENAMES[style](name): array for name, array in tensors.items()}
    content = saved(renamed if container is None else {container: renamed})
    got = weights.convert(weights.read(file(content)))
    assert got.style == style
    np.testing.assert_array_equal(got.params["stem"]["conv"]["kernel"], plain.params["stem"]["conv"]["kernel"])


def test_params_fit_the_network(plain, tensors):
    images = np.zeros((1, 32, 32, 3), np.float32)
    wanted = jax.eval_shape(resnet.ResNet18(WIDTHS).init, jax.random.key(0), images)["params"]
    assert jax.tree.map(np.shape, plain.params) == jax.tree.map(np.shape, wanted)
    assert len(plain.used) == 100 and not any("num_batches" in name for name in (*plain.used, *plain.unexpected))
    gain = tensors["layer2.0.downsample.1.weight"] / np.sqrt(tensors["layer2.0.downsample.1.running_var"] + 1e-5)
    got = plain.params["stage2_block1"]["shortcut"]["conv"]
    kernel = tensors["layer2.0.downsample.0.weight"][:, :, 0, 0] * gain[:, None]  # [out, in]
    np.testing.assert_allclose(got["kernel"][0, 0], kernel.T, rtol=1e-5)
    bias = tensors["layer2.0.downsample.1.bias"] - tensors["layer2.0.downsample.1.running_mean"] * gain
    np.testing.assert_allclose(got["bias"], bias, rtol=1e-5)


def test_heads_are_listed_and_counters_not_needed(tensors):
    more = {**tensors, "cat_head0.sa.conv1.0.weight": np.ones(3, np.float32), "layer4_1.0.conv1.weight": np.ones(3)}
    fewer = {name: array for name, array in more.items() if not name.endswith("num_batches_tracked")}
    unexpected = ("cat_head0.sa.conv1.0.weight", "fc.bias", "fc.weight", "layer4_1.0.conv1.weight")
    assert weights.convert(more).unexpected == weights.convert(fewer).unexpected == unexpected


# ---- Refused architectures and numbers ------------------------------------------------------------------------------


def refused(tensors):
    with pytest.raises(UserError) as error:
        weights.convert(tensors)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_weights(tensors):
    lost = {name: array for name, array in tensors.items() if not name.startswith("layer3")}
    assert "lacks 25 of 100 weights: layer3.0.conv1.weight, layer3.0.bn1.weight" in refused(lost)
    assert "and 19 more" in refused(lost)
    del (one := dict(tensors))["bn1.running_var"]
    assert "lacks 1 of 100 weights: bn1.running_var; expected" in refused(one)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_architectures(tensors, prefix):
    looks = lambda names: refused({prefix + name: np.ones(2, np.float32) for name in names})
    assert "looks like ResNet34" in refused({prefix + n: a for n, a in state(blocks=(3, 4, 6, 3)).items()})
    assert "looks like ResNet50" in looks([*tensors, "layer1.0.conv3.weight"])
    assert "looks like EfficientNet" in looks(["conv_stem.weight", "blocks.0.0.conv_dw.weight"])
    assert "looks like EfficientNet" in looks(["features.0.0.weight", "features.1.0.block.0.0.weight"])
    assert "looks like the IResNet" in looks([*tensors, "layer1.0.prelu.weight", "prelu.weight"])
    assert "vision transformer" in looks(["cls_token", "patch_embed.proj.weight"])
    assert "has no conv1.weight" in looks(["a.b", "c.d"]) and f"{prefix}a.b, {prefix}c.d" in looks(["a.b", "c.d"])
    assert "has not: " in looks([*tensors, "layer1.0.se.fc1.weight"])
    assert "layer2.0.conv1.bias" in looks([*tensors, "layer2.0.conv1.bias"])


def test_two_networks(tensors):
    both = {f"{prefix}.{name}": array for prefix in ("base", "encoder") for name, array in tensors.items()}
    assert "holds 2 networks, with names as base. and encoder." in refused(both)
    part = {name: array for name, array in both.items() if not name.startswith("encoder.layer2")}
    assert weights.convert(part).style == "base."


@pytest.mark.parametrize(
    "name, shape, expected",
    [
        ("conv1.weight", (3, 3, 3, 3), [3, 3, 7, 7]),
        ("conv1.weight", (3, 1, 7, 7), [3, 3, 7, 7]),
        ("layer2.1.bn2.bias", (7,), [4]),
        ("layer1.0.conv1.weight", (9, 3, 3, 3), [9, 3, 7, 7]),
        ("layer3.0.conv1.weight", (), [0, 4, 3, 3]),
    ],
)
def test_shapes(tensors, name, shape, expected):
    text = refused({**tensors, name: np.ones(shape, np.float32)})
    assert f"expected {expected}" in text and "has shape" in text


def test_empty_network():
    empty = {name: np.zeros([0 if size in WIDTHS else size for size in shape]) for name, shape in shapes().items()}
    assert "has shape" in refused(empty)


def test_numbers(tensors):
    ones = np.ones(3, np.float32)
    for value in (np.nan, np.inf, -np.inf):
        assert "bn1.running_var holds NaN or infinity" in refused({**tensors, "bn1.running_var": ones * value})
    assert "holds NaN or infinity" in refused({**tensors, "bn1.running_mean": np.full(3, 1e300)})
    assert "bn1.running_var holds negative variances" in refused({**tensors, "bn1.running_var": -ones})
    assert "bn1.bias holds int8" in refused({**tensors, "bn1.bias": ones.astype(np.int8)})
    large = {"bn1.weight": ones * 3e38, "bn1.running_var": ones * 0}
    assert "overflow" in refused({**tensors, **large})


def test_narrow_numbers(tensors, plain):
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        got = weights.convert({name: array.astype(dtype) for name, array in tensors.items()})
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05), got.params, plain.params)


# ---- Backbone files -------------------------------------------------------------------------------------------------


def test_file_to_backbone(tensors, plain, file, tmp_path):
    source, out = file(saved({"state_dict": tensors}, "legacy")), tmp_path / "made" / "b.safetensors"
    got = weights.convert_file(source, out, "imagenet")
    loaded = embed.load_backbone(out)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, plain.params)
    assert got.widths == loaded.widths == WIDTHS and loaded.size == 224
    assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert loaded.description == "checkpoint, torchvision, normalization imagenet"
    assert next(embed.embed(np.zeros((1, 32, 32, 3), np.uint8), loaded)).shape == (1, 6)


def test_settings_are_kept(tensors, file, tmp_path):
    from hashlib import sha256

    from safetensors import safe_open

    source, out = file(saved(tensors)), tmp_path / "b.safetensors"
    weights.convert_file(source, out, "half", size=112, description="DMUE, AffectNet")
    loaded = embed.load_backbone(out)
    assert loaded[2:5] == ((0.5,) * 3, (0.5,) * 3, 112) and loaded.description == "DMUE, AffectNet"
    with safe_open(out, "numpy") as stored:
        assert stored.metadata()["source_sha256"] == sha256(source.read_bytes()).hexdigest()
    assert weights.NORMALIZATIONS["none"] == ((0.0,) * 3, (1.0,) * 3)


def test_nothing_is_overwritten_or_half_written(tensors, file, tmp_path):
    source, out = file(saved(tensors)), tmp_path / "b.safetensors"
    with pytest.raises(UserError, match="normalization must be one of imagenet, half, none; got 'imagnet'.*'imagenet'"):
        weights.convert_file(source, out, "imagnet")
    with pytest.raises(UserError, match="size must be at least 32"):
        weights.convert_file(source, out, "none", size=8)
    with pytest.raises(UserError, match=r"named \*.safetensors; got .pth"):
        weights.convert_file(source, tmp_path / "b.pth", "none")
    with pytest.raises(UserError, match="checkpoint: lacks"):
        weights.convert_file(file(saved({"conv1.weight": np.ones(2, np.float32)})), out, "none")
    assert list(tmp_path.iterdir()) == [source]
    out.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        weights.convert_file(file(saved(tensors)), out, "none")
    assert out.read_text() == "precious"


def test_torch_is_not_needed():
    code = (
        "import sys; from data_prep.backbones import weights; sys.exit('torch' in sys.modules or 'jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- Files that torch wrote -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


def torch_resnet(torch, widths):
    """ResNet18 as its paper and torchvision define it, with statistics as after training."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            self.downsample = None
            if stride > 1 or before != width:
                self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False), nn.BatchNorm2d(widths[0])
            before = widths[0]
            for stage, width in enumerate(widths):
                blocks = Block(before, width, 2 if stage else 1), Block(width, width, 1)
                setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
                before = width
            self.fc = nn.Linear(before, 8)

        def forward(self, x):
            x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))

    torch.manual_seed(0)
    net = Net().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_torch(torch, new, protocol, tmp_path):
    square = torch.arange(24.0).reshape(2, 3, 4)
    values = {
        "plain": square,
        "turned": square.permute(2, 0, 1),
        "part": square[1, :, ::2],
        "last": torch.ones(2, 3, 4, 5).cumsum(1).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "half": square.half(),
        "brain": square.bfloat16(),
        "double": square.double(),
        "flag": square > 5,
        "parameter": torch.nn.Parameter(square + 1),
    }
    rest = {"epoch": 3, "best": np.float64(0.5), "optimizer": torch.optim.SGD([values["parameter"]], 0.1).state_dict()}
    path = tmp_path / "x.pth.tar"
    content = {**rest, "state_dict": values}
    torch.save(content, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    got = weights.read(path)
    assert got.keys() == values.keys()
    for name, value in values.items():
        assert got[name].shape == tuple(value.shape) and str(got[name].dtype) == str(value.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(got[name].astype(np.float64), value.detach().double().numpy())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_pickled_model_of_torch(torch, new, tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    torch.save({"model": model}, tmp_path / "x", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match=r"needs torch\.nn.*Sequential: .*save only model.state_dict\(\)"):
        weights.read(tmp_path / "x")


def outputs(torch, net, path, tmp_path, size, count=2):
    """Embeddings of the same images: from PyTorch, and from the converted file."""
    images = np.random.default_rng(0).normal(size=(count, size, size, 3)).astype(np.float32)
    out = tmp_path / "b.safetensors"
    weights.convert_file(path, out, "none")
    backbone = embed.load_backbone(out)
    with torch.no_grad():
        expected = net.float()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    return jax.jit(resnet.ResNet18(backbone.widths).apply)({"params": backbone.params}, images), expected


def test_parity_with_torch_at_full_size(torch, tmp_path):
    net = torch_resnet(torch, resnet.FULL)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "x.pth")
    got, expected = outputs(torch, net, tmp_path / "x.pth", tmp_path, 224)
    assert got.shape == (2, 512) and np.abs(expected).mean() > 0.05
    assert np.abs(got - expected).max() <= 1e-4


@pytest.mark.parametrize("case", ["legacy module.", "channels last", "half", "children"])
def test_parity_with_torch(torch, case, tmp_path):
    net = torch_resnet(torch, (8, 16, 24, 32))
    content, new = net.state_dict(), case != "legacy module."
    if case == "legacy module.":
        content = {"state_dict": torch.nn.DataParallel(net).state_dict(), "best_acc": np.float32(0.6)}
    if case == "channels last":
        content = net.to(memory_format=torch.channels_last).state_dict()
    if case == "half":
        content = net.half().state_dict()
    if case == "children":
        parts = [net.conv1, net.bn1, torch.nn.ReLU(), torch.nn.MaxPool2d(3), net.layer1, net.layer2, net.layer3]
        features = torch.nn.Sequential(*parts, net.layer4)
        content = {"model_state_dict": torch.nn.ModuleDict({"features": features, "fc": net.fc}).state_dict()}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    got, expected = outputs(torch, net, tmp_path / "x.pth", tmp_path, 64)
    assert np.abs(expected).mean() > 0.05 and np.abs(got - expected).max() <= 1e-4
