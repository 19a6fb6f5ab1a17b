"""Planting a bug: one fragment of one function is replaced by another, both compared as syntax, not as text.

Spaces, line breaks, quotes, comments and the order of functions do not matter.
"""

import ast
import textwrap


def fragment(code):
    """The nodes of a fragment: one expression, or a run of statements; "" is no statement."""
    body = ast.parse(textwrap.dedent(code)).body
    return [body[0].value] if len(body) == 1 and isinstance(body[0], ast.Expr) else body


def function_of(tree, name):
    """The definition of a function, "method" being "Class.method" and a nested one "outer.inner"."""
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.ClassDef)
        tree = next((n for n in ast.walk(tree) if isinstance(n, kinds) and n.name == part), None)
        assert tree is not None, f"{name} is not there"
    return tree


def places(tree, nodes):
    """(parent, field, index) of each run of statements, or of each expression, that equals the nodes."""
    wanted, kinds = [*map(ast.dump, nodes)], [*map(type, nodes)]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            children = value if isinstance(value, list) else [value]
            for i in range(len(children) - len(wanted) + 1):
                run = children[i : i + len(wanted)]
                # The kinds first: they need no dump of the whole subtree.
                if [*map(type, run)] == kinds and [*map(ast.dump, run)] == wanted:
                    yield parent, field, i


def plant(source, function, right, wrong):
    """The source with the bug: in the function, the only fragment that is `right` has become `wrong`."""
    tree = ast.parse(source)
    old, new = fragment(right), fragment(wrong)
    found = list(places(function_of(tree, function), old))
    assert len(found) == 1, f"{function} has {len(found)} pieces, and must have one, that are: {right}"
    parent, field, i = found[0]
    if isinstance(getattr(parent, field), list):
        getattr(parent, field)[i : i + len(old)] = new or [ast.Pass()]
    else:
        setattr(parent, field, new[0])
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
