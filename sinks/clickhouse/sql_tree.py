"""A query as the engine itself parsed it: what `EXPLAIN AST` prints, one line a node.

```
SelectQuery (children 2)
 ExpressionList (children 1)
  Function sumIf (alias x) (children 1)
```

Texts are printed with escapes, names are not: sql_guard.py lets none pass that holds a control character. A
name that itself holds ` (alias ` is read too short here: the engine has no function or table of such a name.
"""

from dataclasses import dataclass, field


@dataclass
class Node:
    """A part of a query. `name` is what the engine prints behind the kind, '' for most kinds."""

    kind: str
    name: str
    children: list["Node"] = field(default_factory=list)


def tree_of(explained: str) -> Node:
    """The root of the tree that `EXPLAIN AST` printed."""
    root = Node("", "")
    path = [root]
    for line in explained.split("\n"):  # and not where else Python sees the end of a line
        if not line:
            continue
        text = line.lstrip(" ")
        depth = len(line) - len(text)
        kind, _, rest = text.partition(" ")
        name = "" if kind == "Literal" else rest.split("(alias ", 1)[0].split("(children ", 1)[0].rstrip(" ")
        node = Node(kind, name)
        del path[depth + 1 :]
        path[depth].children.append(node)
        path.append(node)
    assert len(root.children) == 1, "EXPLAIN AST prints one query"
    return root.children[0]
