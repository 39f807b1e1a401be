"""Every module and every public function says what goes in and what comes out."""

import ast
import inspect
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for room in ("fedn_jax", "data_prep", "configs") for path in (ROOT / room).rglob("*.py"))


def public(tree):
    """Public functions of a module, and public methods of its public classes, with the name to show."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def missing(name, node):
    """What the docstring of a function leaves out."""
    text = ast.get_docstring(node)
    if not text:
        return [f"{name} has no docstring"]
    found = []
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    arguments = [a for a in arguments if a not in ("self", "cls")]
    if arguments and "Args:" not in text:
        found.append(f"{name} has no Args")
    found += [f"{name} does not describe {a}" for a in arguments if "Args:" in text and f"{a}:" not in text]
    gives = node.returns is not None and not (isinstance(node.returns, ast.Constant) and node.returns.value is None)
    is_property = any(isinstance(d, ast.Name) and d.id == "property" for d in node.decorator_list)
    if gives and not is_property and not any(word in text for word in ("Returns:", "Yields:")):
        found.append(f"{name} has no Returns")
    return found


def test_modules_and_public_functions_are_described():
    assert len(FILES) > 100
    offenders = []
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = [line for name, node in public(tree) for line in missing(name, node)]
        if tree.body and not ast.get_docstring(tree):
            found.append("no module docstring")
        offenders += [f"{path.relative_to(ROOT)}: {line}" for line in found]
    assert offenders == []


def test_the_check_can_fail():
    source = inspect.cleandoc('''
        def f(a) -> int:
            """Does, as of ``g``."""
        def g(a):
            """Does.

            Args:
              b: something.
            """
        def h():
            return 1
    ''')
    found = [line for name, node in public(ast.parse(source)) for line in missing(name, node)]
    assert found == ["f has no Args", "f has no Returns", "g does not describe a", "h has no docstring"]
