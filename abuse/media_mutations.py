"""Ways to break videos, pictures and weights that take more than bytes."""

import json
import os
import random
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np

from abuse import seeds
from abuse.text_mutations import VALUES

LIST = "a list of other files"
SECRET = "secret.dat"  # a video that nobody names, but a list in another file


def mp4_box(path: Path, rng: random.Random) -> str:
    """A field of a box: its size, or one of the numbers in it."""
    data = bytearray(path.read_bytes())
    names = [
        b"moov",
        b"mvhd",
        b"trak",
        b"tkhd",
        b"mdhd",
        b"stsd",
        b"avc1",
        b"avcC",
        b"stts",
        b"stsc",
        b"stsz",
        b"stco",
        b"elst",
        b"mdat",
        b"ctts",
        b"stss",
        b"ftyp",
    ]
    name = rng.choice([one for one in names if one in data])
    where = data.index(name)
    offset = rng.choice([-4, -4, 4, 8, 12, 16, 20, 24, 32, 40])
    value = rng.choice([0, 1, 7, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000, rng.randrange(1 << 32)])
    data[where + offset : where + offset + 4] = struct.pack(">I", value)
    path.write_bytes(data)
    return f"box {name.decode()}{offset:+d} is {value:#x}"


def playlist(path: Path, rng: random.Random) -> str:
    """Text that FFmpeg takes for a list of other files, which nobody named."""
    secret = path.parent / SECRET
    seeds.write_video(secret.with_suffix(".mp4"), seeds.images(2, 8), *seeds.CONTAINERS["mp4"])
    secret.with_suffix(".mp4").rename(secret)
    kind = rng.choice(["concat", "concat version", "concat absolute", "m3u8", "m3u8 net", "sdp", "dash"])
    text = {
        "concat": f"file '{secret.name}'\n",
        "concat absolute": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "concat version": f"ffconcat version 1.0\nfile '{secret.name}'\n",
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{secret.absolute()}\n#EXT-X-ENDLIST\n",
        "m3u8 net": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' profiles='x'><Period/></MPD>",
    }[kind]
    path.write_text(text)
    return f"{LIST} ({kind})"


def odd_video(path: Path, rng: random.Random) -> str:
    """A whole video of unusual size, length or rate."""
    kind = rng.choice(
        ["one frame", "wide", "tall", "2 x 2", "large", "fast", "slow", "black", "grey", "no frames", "audio"]
    )
    size = {"wide": (16, 4096), "tall": (4096, 16), "2 x 2": (2, 2), "large": (4320, 7680)}.get(kind, (48, 48))
    frames = [np.zeros((*size, 3), np.uint8) + (128 if kind == "grey" else 0)] * (
        1 if kind in ("one frame", "large") else 12
    )
    if kind not in ("black", "grey"):
        frames = [frame + rng.randrange(200) for frame in frames]
    path.unlink()
    if kind == "audio":
        _audio(path)
        return "sound only"
    rate = {"fast": 1000, "slow": 1}.get(kind, 30)
    seeds.write_video(path, frames[: 0 if kind == "no frames" else None] or frames[:1], "mpeg4", {}, rate)
    if kind == "no frames":
        path.write_bytes(path.read_bytes().replace(b"mdat", b"free"))
    return kind


def _audio(path: Path) -> None:
    import av

    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def odd_times(path: Path, rng: random.Random) -> str:
    """A whole video whose times jump, repeat or begin far away."""
    import av

    kind = rng.choice(["jump", "start", "repeat", "dense", "long hole"])
    times = {
        "jump": [0, 1, 2, 3, 900000, 900001],
        "start": [3_000_000 + k for k in range(8)],
        "repeat": [0, 1, 1, 2, 2, 3],
        "dense": [k for k in range(12)],
        "long hole": [0, 1, 2, 3_000_000_00, 3_000_000_01],
    }[kind]
    path.unlink()
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuvj420p"
        for k, time in enumerate(times):
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(seeds.images(0, 12)[k], format="rgb24").reformat(format="yuvj420p")
            ):
                packet.pts = packet.dts = int(time * (1000 / 30)) if kind != "dense" else time // 4
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    return f"times: {kind}"


VIDEO = (mp4_box, mp4_box, mp4_box)
WHOLE_VIDEO = (odd_video, odd_times, playlist)


# ---- Pictures --------------------------------------------------------------------------------------------------------


def picture_size(path: Path, rng: random.Random) -> str:
    """A header that claims a picture of gigabytes, or none."""
    data, value = bytearray(path.read_bytes()), rng.choice([0, 1, 65535, 100_000, 0x7FFFFFFF, 0xFFFFFFFF])
    if data[:4] == b"\x89PNG":
        import zlib

        data[16:20] = data[20:24] = struct.pack(">I", value)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif data[:2] == b"BM":
        data[18:26] = struct.pack("<II", value, rng.choice([value, 32]))
    else:
        where = max(data.find(b"\xff\xc0"), 0)
        data[where + 5 : where + 9] = struct.pack(">HH", value & 0xFFFF, value & 0xFFFF)
    path.write_bytes(data)
    return f"{value} pixels wide and high"


def picture_name(path: Path, rng: random.Random) -> str:
    """A number that fits the others badly, or none."""
    name = rng.choice(
        [
            "img99999999999999999999",
            "img0",
            "img-1",
            "img",
            "2",
            "img002",
            "img2",
            "frame_3_4",
            "img７",
            "img61",
            "img900",
            ".hidden1",
        ]
    )
    target = path.with_name(f"{name}{path.suffix}")
    path.rename(target)
    return f"named {name}"


def picture_other(path: Path, rng: random.Random) -> str:
    """A whole picture that is unlike the others."""
    import cv2

    shape, dtype = rng.choice(
        [
            ((1, 1, 3), np.uint8),
            ((200, 30, 3), np.uint8),
            ((32, 32), np.uint16),
            ((32, 32, 4), np.uint8),
            ((31, 33, 3), np.uint8),
        ]
    )
    image = np.zeros(shape, dtype)
    content = cv2.imencode(".png", image)[1].tobytes()
    path.write_bytes(content)
    return f"{dtype.__name__} {list(shape)}"


PICTURE = (picture_size, picture_size, picture_name, picture_other)


# ---- Weights ---------------------------------------------------------------------------------------------------------


def safetensors_header(path: Path, rng: random.Random) -> str:
    """A field of the header, or its length."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    name, kind = (
        rng.choice([one for one in header if one != "__metadata__"]),
        rng.choice(["length", "dtype", "shape", "offsets", "name", "gone", "value", "deep"]),
    )
    if kind == "length":
        length = rng.choice([0, 2**63, 2**64 - 1, 2**40, size - 5, size + 5])
        path.write_bytes(struct.pack("<Q", length) + data[8:])
        return f"header of {length} bytes"
    entry = header[name]
    if kind == "dtype":
        entry["dtype"] = rng.choice(["F64", "I8", "BF16", "F8_E4M3", "X", "", None, 5])
    elif kind == "shape":
        entry["shape"] = rng.choice(
            [[], [0], [-1], [2**40, 2**40], [1.5], "x", entry["shape"][::-1], [*entry["shape"], 1], None]
        )
    elif kind == "offsets":
        entry["data_offsets"] = rng.choice([[0, 2**62], [-4, 8], [8, 0], [0], [0, len(body)], "x", [0.5, 4]])
    elif kind == "name":
        header[rng.choice(["", "conv1", "module.x", "layer1.0.conv9.weight", "a" * 2000, "fc.weight"])] = header.pop(
            name
        )
    elif kind == "gone":
        del header[name]
    elif kind == "value":
        header[name] = rng.choice([one for one in VALUES if one == one])
    text = b'{"a":' * 5000 + b"1" + b"}" * 5000 if kind == "deep" else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return f"{name}: {kind}"


def weights(path: Path, rng: random.Random) -> str:
    """Other arrays in a whole file: not finite, of other shapes, missing or too many."""
    from safetensors.numpy import load_file, save_file

    arrays = load_file(path)
    name, kind = (
        rng.choice(list(arrays)),
        rng.choice(
            ["NaN", "infinity", "shape", "gone", "more", "whole numbers", "empty", "half", "prefix", "negative"]
        ),
    )
    if kind in ("NaN", "infinity"):
        arrays[name] = arrays[name] * np.float32(kind.replace("infinity", "inf"))
    elif kind == "shape":
        arrays[name] = np.repeat(arrays[name], 2, 0)
    elif kind == "gone":
        del arrays[name]
    elif kind == "more":
        arrays |= {f"layer5.{k}.weight": np.zeros(3, np.float32) for k in range(50)}
    elif kind == "whole numbers":
        arrays[name] = arrays[name].astype(np.int32)
    elif kind == "empty":
        arrays = {}
    elif kind == "half":
        arrays = {key: value.astype(np.float16) for key, value in arrays.items()}
    elif kind == "negative":
        arrays[name] = -arrays[name]
    else:
        arrays = {f"{rng.choice(['module.', 'a.b.', 'x'])}{key}": value for key, value in arrays.items()}
    save_file(arrays, path)
    return f"{name}: {kind}"


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def pickled(path: Path, rng: random.Random) -> str:
    """What PyTorch's format can hold beside arrays; one runs a program when it is read carelessly."""
    import pickle

    import torch

    kind = rng.choice(
        ["program", "program", "list", "module", "number", "deep", "plain pickle", "complex", "self", "keys"]
    )
    content = {
        "program": {"state_dict": _Evil()},
        "list": [1, 2],
        "module": torch.nn.Linear(2, 2),
        "number": 5,
        "deep": {"state_dict": {"state_dict": {"model": {}}}},
        "plain pickle": {"a": 1},
        "complex": {"conv1.weight": torch.zeros(3, dtype=torch.complex64)},
        "keys": {1: torch.zeros(3), None: torch.zeros(2)},
        "self": {},
    }[kind]
    if kind == "self":
        content["state_dict"] = content
    if kind == "plain pickle" or (kind == "program" and rng.random() < 0.5):
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    return f"holds {kind}"


SAFETENSORS = (safetensors_header, safetensors_header, weights, weights)
CHECKPOINT = (pickled, pickled)
