"""The schemas of two Terraform providers, as a provider tells them to terraform.

The registry of providers is not needed: HashiCorp generated the npm package `@cdktf/provider-azurerm` from the schema
of azurerm, one TypeScript class for each block, and from these classes the schema is derived again. It is derived on
the machine that needs it and never committed, for the package has a licence of its own (MPL-2.0).
For azapi there is no such package. Of its schema, the few types that a project uses stand here.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tf.gen import tfplugin_pb2 as protocol  # type: ignore[import-untyped]

VERSION = "4.55.0"
PACKAGE = "@cdktf/provider-azurerm@14.23.1"
INTEGRITY = "sha512-3H20Ozj7dOKmIj6mqorHZEjLNo5wO/MBEVHwu6k53fln/0EciGQa9sDLWBYSb0o40Ycpih9lFp/k6SGRbFlQVg=="
# How a class reads an attribute, or what it declares, and the attribute's type.
TYPES: dict[str, Any] = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
    "getStringMapAttribute": ["map", "string"],
    "StringMap": ["map", "string"],
    "string": "string",
    "number": "number",
    "boolean | cdktf.IResolvable": "bool",
    "string[]": ["list", "string"],
    "number[][] | cdktf.IResolvable": ["list", ["list", "number"]],
}
KINDS = ("TerraformResource", "TerraformDataSource", "TerraformProvider")
CLASS = re.compile(r"^export (?:class|interface) (\w+)(?: extends cdktf\.(\w+))? \{", re.M)
FIELD = re.compile(r"^  // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)$", re.M)
INNER = re.compile(r"= new (\w+(List|Map|OutputReference))\(this, \"\w+\"(?:, (true|false))?\)")
READ = re.compile(r"(cdktf\.Fn\.tolist\()?(?:this|new cdktf)\.(get\w+Attribute|StringMap)\(")
MEMBER = re.compile(r"#(\w+) \w+#\w+\}(?:[^}]*?)\*/\s+readonly \w+(\??): ([^;]+);")
Nested = protocol.Schema.NestedBlock


def azurerm(folder: Path) -> protocol.GetProviderSchema.Response:
    """Return the schema of azurerm, derived from the package if it is not yet kept in the folder.

    Raises:
        RuntimeError: npm does not bring the package, or another one than was pinned.
    """
    kept = folder / "azurerm.schema"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as room:
            # Under another name first: a half-written file is never taken for the whole.
            made = Path(room) / kept.name
            made.write_bytes(derive(fetch(Path(room))).SerializeToString(deterministic=True))
            made.replace(kept)
    return protocol.GetProviderSchema.Response.FromString(kept.read_bytes())


def fetch(room: Path) -> Path:
    """Bring the package with npm, check that it is the pinned one, unpack it, and return the folder of its classes."""
    if not shutil.which("npm"):
        raise RuntimeError("npm is needed for the schema of the Terraform provider: apt-get install nodejs npm")
    words = ["npm", "pack", "--silent", PACKAGE]
    done = subprocess.run(words, cwd=room, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"npm does not bring {PACKAGE}: {done.stderr[-500:]}")
    archive = room / done.stdout.split()[-1]
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise RuntimeError(f"{PACKAGE} is not what was pinned: it is {found}")
    with tarfile.open(archive) as tar:
        tar.extractall(room, [one for one in tar if one.name.endswith("/index.js")], filter="data")
    return room / "package" / "lib"


def derive(library: Path) -> protocol.GetProviderSchema.Response:
    """Return the schema of the provider, of all its resources and of all its data sources."""
    schema = protocol.GetProviderSchema.Response()
    for path in sorted(library.glob("*/index.js")):
        text = source(path)
        name, base = next(((name, base) for name, base in CLASS.findall(text) if base in KINDS), ("", ""))
        if not name:
            continue
        kind = re.findall(r'tfResourceType = "(\w+)"', text)[0]
        targets = dict(zip(KINDS, (schema.resource_schemas, schema.data_source_schemas), strict=False))
        target = targets[base][kind] if base in targets else schema.provider
        target.block.CopyFrom(block(name, bodies(text)))
    return schema


def source(path: Path) -> str:
    """Return the TypeScript that a compiled file was made of: its source map brings it along."""
    _, found, code = path.read_text(encoding="utf-8").rpartition("sourceMappingURL=data:application/json;base64,")
    return str(json.loads(base64.b64decode(code))["sourcesContent"][0]) if found else ""


def bodies(text: str) -> dict[str, str]:
    """Return the body of each class and interface, by its name."""
    starts = [*CLASS.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return {start[1]: text[start.end() : end] for start, end in zip(starts, ends, strict=True)}


def block(name: str, known: dict[str, str]) -> protocol.Schema.Block:
    """Return the schema of the block that a class stands for."""
    result, body = protocol.Schema.Block(), known[name]
    fields = [*FIELD.finditer(body)]
    ends = [*(field.start() for field in fields[1:]), len(body)]
    for field, end in zip(fields, ends, strict=False):
        text, snake = body[field.end() : end], field[1]
        computed, optional, required = (word == "true" for word in field.groups()[1:])
        inner = INNER.search(text)
        declared = re.search(r"private _\w+\??: ([^;]+);", text)
        if inner and (optional or required):
            part = block(item(inner[1], known), known)
            single, unordered = inner[2] == "OutputReference", inner[3] == "true"
            add(result, snake, part, required=required, single=single, unordered=unordered)
        elif declared and declared[1].split("[")[0] in known:  # the provider's own, without a class of its own
            add(result, snake, members(declared[1].split("[")[0], known), required=required, single=False)
        else:
            read = READ.search(text)
            if inner:
                type_ = [inner[2].lower(), ["object", shape(item(inner[1], known), known)]]
            else:
                type_ = TYPES[read[2] if read else declared[1] if declared else "nothing"]
                type_ = ["set", type_[1]] if read and read[1] else type_
            # In the package an id can be set, for historical reasons; the provider takes none.
            optional = optional and not (computed and snake == "id")
            attribute(result, snake, type_, computed=computed, optional=optional, required=required)
    return result


def item(name: str, known: dict[str, str]) -> str:
    """Return the class of what is in a list, or of the thing itself."""
    got = re.search(r"public get\(\w+: \w+\): (\w+)", known[name])
    return got[1] if got else name


def shape(name: str, known: dict[str, str]) -> dict[str, Any]:
    """Return the types of what an object holds that only the provider sets."""
    inside = block(name, known)
    assert not inside.block_types, name
    return {one.name: json.loads(one.type) for one in inside.attributes}


def members(name: str, known: dict[str, str]) -> protocol.Schema.Block:
    """Return the schema of a block of which there is only an interface."""
    result = protocol.Schema.Block()
    for snake, maybe, type_ in MEMBER.findall(known[name]):
        inner = type_.split("[")[0]
        if inner in known:
            add(result, snake, members(inner, known), required=not maybe, single="[" not in type_)
        else:
            attribute(result, snake, TYPES[type_], optional=bool(maybe), required=not maybe)
    return result


def attribute(into: protocol.Schema.Block, name: str, type_: Any, **flags: bool) -> None:
    """Add an attribute to a block."""
    into.attributes.add(name=name, type=json.dumps(type_).encode(), **flags)


def add(
    into: protocol.Schema.Block,
    name: str,
    part: protocol.Schema.Block,
    *,
    required: bool = False,
    single: bool = True,
    unordered: bool = False,
) -> None:
    """Add a kind of nested block to a block."""
    nesting = Nested.SINGLE if name == "timeouts" else Nested.SET if unordered else Nested.LIST
    many = not single or name == "timeouts"
    nested = into.block_types.add(type_name=name, nesting=nesting, min_items=int(required), max_items=0 if many else 1)
    nested.block.CopyFrom(part)


# azapi, by hand: (type, flags), where c is computed, o optional, r required. A body may be of any shape.
IDENTITY: dict[str, tuple[Any, str]] = {"type": ("string", "r"), "identity_ids": (["list", "string"], "o")}
COMMON: dict[str, tuple[Any, str]] = {
    "id": ("string", "c"),
    "type": ("string", "r"),
    "name": ("string", "oc"),
    "parent_id": ("string", "oc"),
    "body": ("dynamic", "oc"),
    "output": ("dynamic", "c"),
    "response_export_values": ("dynamic", "o"),
    "locks": (["list", "string"], "o"),
}
AZAPI: dict[str, dict[str, tuple[Any, str]]] = {
    "azapi_resource": COMMON
    | {
        "location": ("string", "oc"),
        "tags": (["map", "string"], "oc"),
        "schema_validation_enabled": ("bool", "oc"),
        "ignore_missing_property": ("bool", "oc"),
    },
    "azapi_update_resource": COMMON | {"resource_id": ("string", "oc"), "ignore_missing_property": ("bool", "oc")},
}


def azapi() -> protocol.GetProviderSchema.Response:
    """Return the schema of azapi, as far as it is used."""
    schema = protocol.GetProviderSchema.Response()
    whole = {"": {"use_oidc": ("bool", "o"), "tenant_id": ("string", "o"), "subscription_id": ("string", "o")}} | AZAPI
    for kind, attributes in whole.items():
        target = schema.resource_schemas[kind].block if kind else schema.provider.block
        inside: list[tuple[Any, dict[str, tuple[Any, str]]]] = [(target, attributes)]
        if kind == "azapi_resource":
            inside.append((target.block_types.add(type_name="identity", nesting=Nested.LIST).block, IDENTITY))
        for into, named in inside:
            for name, (type_, flags) in named.items():
                computed, optional, required = (flag in flags for flag in "cor")
                attribute(into, name, type_, computed=computed, optional=optional, required=required)
    return schema
