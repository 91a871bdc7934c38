"""Imports follow the table in docs/architecture.md, which has no cycle. Files and functions are short."""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mobile_r1_jax"
ROOTS = (PACKAGE, "data_pipelines", "tools", "benchmarks", "examples")  # tests may import everything
SIMULATOR = "phones.simulator"
MAY_IMPORT_THE_SIMULATOR = ("phones.providers", "tools", "benchmarks", "tests")
ROW = re.compile(r"^\| *(`[^|]+`) *\| *([^|]*?) *\|$", re.MULTILINE)


def declared_arrows(page: str) -> dict[str, set[str]]:
    """Return part -> parts that it may import, as the table under "Imports" says. Rows may name several parts."""
    section = page.split("\n## Imports\n")[1].split("\n## ")[0]
    rows = {
        part: set(re.findall(r"`([^`]+)`", allowed)) if "everything" not in allowed else {"everything"}
        for parts, allowed in ROW.findall(section)
        for part in re.findall(r"`([^`]+)`", parts)
    }
    unknown = set().union(*rows.values()) - set(rows) - {"everything"}
    assert not unknown, f"docs/architecture.md names parts that have no row: {sorted(unknown)}"
    return {part: set(rows) if "everything" in allowed else allowed for part, allowed in rows.items()}


def modules() -> dict[str, Path]:
    """Return the name of every module of the project -> its file. Names in the package leave out its own name."""
    return {
        name_of(path.relative_to(ROOT)): path
        for root in ROOTS
        for path in sorted((ROOT / root).rglob("*.py"))
        if "__pycache__" not in path.parts
    }


def name_of(path: Path) -> str:
    """Return the module name of a file: "phones.fleet" for mobile_r1_jax/phones/fleet.py."""
    parts = path.with_suffix("").parts
    return ".".join(parts[: -1 if parts[-1] == "__init__" else None]).removeprefix(f"{PACKAGE}.")


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of all imports of a file, including those in functions and for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def part_of(module: str, parts: set[str]) -> str:
    """Return the part that a module belongs to: the longest name that it begins with."""
    found = [part for part in parts if module == part or module.startswith(f"{part}.")]
    assert found, f"no row of the table in docs/architecture.md holds {module}"
    return max(found, key=len)


def arrows() -> Iterator[tuple[str, str, str]]:
    """Yield (where, importing module, imported module) for every import of one project module by another."""
    known = modules()
    for module, path in known.items():
        for line, name in imported_names(path):
            if name.split(".")[0] not in ROOTS:
                continue
            short = name.removeprefix(f"{PACKAGE}.")
            target = short if short in known else name.rpartition(".")[0].removeprefix(f"{PACKAGE}.")
            yield f"{path.relative_to(ROOT)}:{line}", module, target


DECLARED = declared_arrows((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
PARTS = set(DECLARED)
ARROWS = tuple(arrows())


def test_every_import_is_declared() -> None:
    wrong = [
        f"{where}: {part_of(module, PARTS)} imports {target}"
        for where, module, target in ARROWS
        if (part := part_of(target, PARTS)) != part_of(module, PARTS) and part not in DECLARED[part_of(module, PARTS)]
    ]
    assert not wrong, "docs/architecture.md does not declare:\n" + "\n".join(wrong)


def test_only_its_provider_imports_the_simulator() -> None:
    wrong = [
        f"{where}: {module} imports {target}"
        for where, module, target in ARROWS
        if part_of(target, PARTS) == SIMULATOR and part_of(module, PARTS) not in (SIMULATOR, *MAY_IMPORT_THE_SIMULATOR)
    ]
    assert not wrong, "\n".join(wrong)


def test_declared_imports_have_no_cycle() -> None:
    graph = {part: allowed - {part} for part, allowed in DECLARED.items() if allowed != PARTS}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_every_declared_import_is_used() -> None:
    used = {(part_of(module, PARTS), part_of(target, PARTS)) for _, module, target in ARROWS}
    unused = [
        f"{part} -> {other}"
        for part, allowed in DECLARED.items()
        if allowed != PARTS
        for other in sorted(allowed)
        if (part, other) not in used
    ]
    assert not unused, "docs/architecture.md declares what nothing uses: " + ", ".join(unused)


def test_rl_depends_on_jax_alone() -> None:
    roots = {
        name.split(".")[0]
        for module, path in modules().items()
        if part_of(module, PARTS) == "rl"
        for _, name in imported_names(path)
    }
    assert roots - set(sys.stdlib_module_names) <= {"jax", PACKAGE}


def test_files_functions_and_commands_are_short() -> None:
    files = [path for root in (*ROOTS, "tests") for path in sorted((ROOT / root).rglob("*.py"))]
    commands = [ROOT / PACKAGE / f"{name}.py" for name in ("launch", "evaluate", "act", "export", "plan", "view")]
    sizes = [(path.name, len(path.read_text(encoding="utf-8").splitlines()), 400) for path in files]
    sizes += [(f"the command {path.name}", len(path.read_text(encoding="utf-8").splitlines()), 99) for path in commands]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes.append((f"{path.name}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1, 70))
    too_long = [f"{name} has {lines} lines, at most {most}" for name, lines, most in sizes if lines > most]
    assert not too_long, "\n".join(too_long)
