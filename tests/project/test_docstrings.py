"""Every public function says what goes in and what comes out."""

import ast
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("fedn_jax/**/*.py"), *ROOT.glob("data_prep/**/*.py")])


def public(tree):
    """Public functions of a module, and public methods of its public classes, with the name to show."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def problems(name, node):
    text = ast.get_docstring(node)
    if not text:
        return [f"{name} has no docstring"]
    if "as of ``" in text or "(see ``" in text or isinstance(node.returns, ast.Constant) and len(node.args.args) <= 1:
        return []
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_are_described(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not path.read_text().strip() or path.name == "__init__.py", "no module docstring"
    assert not [line for name, node in public(tree) for line in problems(name, node)]


def test_the_check_can_fail():
    source = inspect.cleandoc('''
        def f(a) -> int:
            """Does."""
    ''')
    assert problems("f", ast.parse(source).body[0]) == ["f has no Args", "f has no Returns"]
