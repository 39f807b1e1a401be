"""Parameters of FEDN from PyTorch and back, by an explicit map of names; NumPy only.

A layer is named as in ``fedn_jax.torch_parity.reference`` and stored as PyTorch stores it:

    ours                                    PyTorch's                             what differs
    fusion/{query,key,value}                fusion.attention.in_proj_*            stacked [3 D, D]
    fusion/out                              fusion.attention.out_proj.*           transposed
    fusion/{score,reduce}                   fusion.{score,reduce}.*               transposed
    window_scores/taps                      window_scores.weight                  [out, in, 3]
    {blocks,neck}_0/Conv_0/taps             {blocks,neck}.0.conv.*                [out, in, 3]
    {blocks,neck}_0/GroupNorm_0             {blocks,neck}.0.norm.*                scale is called weight
    {free,anchored}_0/attention/...         {free,anchored}.0.attention.*         as above
    {free,anchored}_0/{interval,class,shared}_0/...
                                            {free,anchored}.0.towers.{interval,class,shared}.0.{conv,norm}.*
    {free,anchored}_0/{interval,class}_output
                                            {free,anchored}.0.{interval,class}_output.*    transposed
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fedn_jax.core import errors
from fedn_jax.core.errors import UserError
from fedn_jax.core.types import Tree

TAPS = 3  # kernel of every convolution


class Kind(NamedTuple):
    """How PyTorch stores a parameter of ours."""

    to_torch: Callable[[np.ndarray], np.ndarray]
    from_torch: Callable[[np.ndarray], np.ndarray]


def _conv_to_torch(kernel: np.ndarray) -> np.ndarray:
    return kernel.reshape(TAPS, -1, kernel.shape[1]).transpose(2, 1, 0)  # [3 in, out] -> [out, in, 3]


def _conv_from_torch(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])  # [out, in, 3] -> [3 in, out]


KINDS = {
    "vector": Kind(lambda ours: ours, lambda theirs: theirs),
    "linear": Kind(lambda ours: ours.T, lambda theirs: theirs.T),
    "conv": Kind(_conv_to_torch, _conv_from_torch),
}
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
IN_PROJ = ("query", "key", "value")  # order of the rows of PyTorch's in_proj
MODULES = (  # (our module, PyTorch's, kind of its kernel); \1, \2, ... are what the brackets held
    (r"fusion/(query|key|value)", r"fusion.attention.in_proj_", "linear"),
    (r"fusion/out", r"fusion.attention.out_proj.", "linear"),
    (r"fusion/(score|reduce)", r"fusion.\1.", "linear"),
    (r"window_scores/taps", r"window_scores.", "conv"),
    (r"(blocks|neck)_(\d+)/Conv_0/taps", r"\1.\2.conv.", "conv"),
    (r"(blocks|neck)_(\d+)/GroupNorm_0", r"\1.\2.norm.", "vector"),
    (r"(free|anchored)_(\d+)/attention/(?:query|key|value)", r"\1.\2.attention.in_proj_", "linear"),
    (r"(free|anchored)_(\d+)/attention/out", r"\1.\2.attention.out_proj.", "linear"),
    (r"(free|anchored)_(\d+)/(\w+)_(\d+)/Conv_0/taps", r"\1.\2.towers.\3.\4.conv.", "conv"),
    (r"(free|anchored)_(\d+)/(\w+)_(\d+)/GroupNorm_0", r"\1.\2.towers.\3.\4.norm.", "vector"),
    (r"(free|anchored)_(\d+)/(interval|class)_output", r"\1.\2.\3_output.", "linear"),
)


class Piece(NamedTuple):
    """One parameter in both worlds."""

    ours: tuple[tuple[str, ...], ...]  # paths; three for what PyTorch stacks: query, key, value
    kind: str  # entry of KINDS


def names(params: Tree) -> dict[str, Piece]:
    """The map of names.

    Args:
      params: of FEDN; leaves may be anything, such as the shapes of ``jax.eval_shape``.

    Returns:
      PyTorch's name -> where our parameter lies and how PyTorch stores it. Every parameter is in it.

    Raises:
      UserError: a parameter that FEDN does not have.

    >>> names({"fusion": {"score": {"bias": 0}}})
    {'fusion.score.bias': Piece(ours=(('fusion', 'score', 'bias'),), kind='vector')}
    """
    found: dict[str, Piece] = {}
    unknown = []
    for path in flatten_dict(params):
        module, leaf = "/".join(path[:-1]), path[-1]
        for pattern, template, kind in MODULES:
            match = re.fullmatch(pattern, module)
            if match and leaf in LEAVES:
                name = match.expand(template) + LEAVES[leaf]
                before = found.get(name, Piece((), ""))
                found[name] = Piece((*before.ours, path), "vector" if leaf == "bias" else kind)
                break
        else:
            unknown.append(f"no PyTorch name for the parameter {module}/{leaf}")
    errors.report("parameters", unknown)
    ordered = lambda paths: tuple(sorted(paths, key=lambda path: IN_PROJ.index(path[-2]))) if paths[1:] else paths
    return {name: Piece(ordered(piece.ours), piece.kind) for name, piece in found.items()}


def to_torch(params: Tree) -> dict[str, np.ndarray]:
    """Our parameters as a PyTorch state dict.

    Args:
      params: of FEDN, arrays of any float type.

    Returns:
      Name -> array, contiguous; numbers and types are unchanged.
    """
    flat = flatten_dict(params)
    state = {}
    for name, piece in names(params).items():
        parts = [KINDS[piece.kind].to_torch(np.asarray(flat[path])) for path in piece.ours]
        state[name] = np.ascontiguousarray(np.concatenate(parts))
    return state


def _expected(params: Tree) -> dict[str, tuple[int, ...]]:
    """PyTorch's name -> shape."""
    flat = flatten_dict(params)
    empty = {path: np.broadcast_to(np.float32(0), leaf.shape) for path, leaf in flat.items()}
    shapes = {}
    for name, piece in names(params).items():
        first, *rest = KINDS[piece.kind].to_torch(empty[piece.ours[0]]).shape
        shapes[name] = (first * len(piece.ours), *rest)
    return shapes


def from_torch(state: Mapping[str, np.ndarray], like: Tree) -> Tree:
    """A PyTorch state dict as our parameters.

    Args:
      state: name -> array. A convolution of kernel 1 may stand for a linear layer: [out, in, 1] for [out, in].
      like: parameters of the same network; shapes are enough: ``jax.eval_shape(task.init, key)["params"]``.

    Returns:
      NumPy arrays in the structure of ``like``; numbers and types are those of ``state``.

    Raises:
      UserError: lists every name that is missing, unexpected, of another shape or not of floats, together.
    """
    shapes, pieces = _expected(like), names(like)
    arrays = {name: np.asarray(array) for name, array in state.items()}
    unexpected = [name for name in arrays if name not in shapes]
    problems, flat = [], {}
    for name, shape in shapes.items():
        if name not in arrays:
            same = [other for other in unexpected if arrays[other].shape == shape]
            near = difflib.get_close_matches(name, same or unexpected, n=1, cutoff=0.4)
            problems.append(f"missing: {name} {list(shape)}" + (f"; {near[0]} may be it" if near else ""))
            continue
        array = arrays[name]
        if array.shape == (*shape, 1):
            array = array[..., 0]
        if array.shape != shape:
            problems.append(f"{name} must have shape {list(shape)}; got {list(array.shape)}")
        elif array.dtype.kind != "f":
            problems.append(f"{name} must hold floats; got {array.dtype}")
        else:
            paths = pieces[name].ours
            parts = [KINDS[pieces[name].kind].from_torch(part) for part in np.split(array, len(paths))]
            flat |= {path: np.ascontiguousarray(part) for path, part in zip(paths, parts, strict=True)}
    problems += [f"unexpected: {name} {list(arrays[name].shape)}" for name in unexpected]
    errors.report("weights", problems)
    return unflatten_dict({path: flat[path] for path in flatten_dict(like)})


def rules(words: Sequence[str]) -> dict[str, str]:
    """The rules of ``rename`` as the command line has them.

    Args:
      words: REGEX=NEW each.

    Returns:
      Regular expression -> replacement.

    Raises:
      UserError: another form, or one expression twice.

    >>> rules(["^module[.]=", "a=b"])
    {'^module[.]': '', 'a': 'b'}
    """
    for word in words:
        if "=" not in word:
            raise UserError(f"--rename {word}: expected REGEX=NEW, such as '^module[.]='")
    pairs = [word.rpartition("=")[::2] for word in words]
    if len(dict(pairs)) < len(pairs):
        raise UserError(f"--rename {' '.join(words)}: has one expression twice; expected each once")
    return dict(pairs)


def rename(state: Mapping[str, Any], rules: Mapping[str, str]) -> dict[str, Any]:
    """Gives entries other names, so that a state dict of somebody else's FEDN fits.

    Args:
      state: name -> anything.
      rules: regular expression -> replacement, as of ``re.sub``, applied in this order to every name.

    Returns:
      The same entries under their new names.

    Raises:
      UserError: a rule that is no regular expression or fits no name, or two entries that would get one name.

    >>> rename({"module.conv1.weight": 1, "module.conv2.weight": 2}, {"^module[.]": "", "conv": "blocks."})
    {'blocks.1.weight': 1, 'blocks.2.weight': 2}
    """
    moved = {name: name for name in state}
    for pattern, replacement in rules.items():
        try:
            fits = any(re.search(pattern, new) for new in moved.values())
            new_names = {name: re.sub(pattern, replacement, new) for name, new in moved.items()}
        except (re.error, IndexError) as error:
            raise UserError(f"the rule {pattern!r} is no regular expression with a replacement ({error})") from None
        if not fits:
            raise UserError(f"the rule {pattern!r} fits no name; there are {', '.join(list(moved.values())[:6])}, ...")
        moved = new_names
    result: dict[str, Any] = {}
    for name, new in moved.items():
        if new in result:
            raise UserError(f"two entries would be called {new}; one of them is {name}")
        result[new] = state[name]
    return result


def options(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the shapes of a state dict say about its configuration.

    Args:
      state: name -> array, under the names of ``fedn_jax.torch_parity.reference``.

    Returns:
      "options" {"model.width": 512, ...}, "classes" (outputs per interval) and "inputs" (D). Heads, groups, windows
      and the meaning of the class outputs leave no trace in shapes.

    Raises:
      UserError: an entry that is needed is not there.
    """
    shape = {name: np.shape(array) for name, array in state.items()}
    needed = ("blocks.0.conv.weight", "free.0.class_output.weight", "anchored.0.interval_output.weight")
    errors.report("weights", [f"missing: {name}" for name in needed if name not in shape])
    tower = "shared" if any(".towers.shared." in name for name in shape) else "class"
    depth = [name for name in shape if re.fullmatch(rf"free\.0\.towers\.{tower}\.\d+\.conv\.weight", name)]
    levels = [name for name in shape if re.fullmatch(r"free\.\d+\.class_output\.weight", name)]
    width, inputs = shape["blocks.0.conv.weight"][:2]
    scores = shape.get("window_scores.weight", (0,))[0]
    found = {
        "model.width": width,
        "model.head_width": shape["free.0.class_output.weight"][1],
        "model.head_depth": len(depth),
        "model.head": "coupled" if tower == "shared" else "decoupled",
        "model.segment_fusion": "attention" if "fusion.reduce.weight" in shape else "mean",
        "model.window_attention": "scaled" if scores else "none",
        "model.window_attention_channels": 1 if scores < 2 else 0,
    }
    anchors = shape["anchored.0.interval_output.weight"][0] // 2
    outputs = shape["free.0.class_output.weight"][0]
    return {"options": found, "levels": len(levels), "anchors": anchors, "classes": outputs, "inputs": inputs}
