"""A stand-in for a Terraform provider: it knows the schema and the fixed values, and makes nothing.

terraform starts it like any provider (plugin protocol 6) as `terraform_provider.py azurerm|azapi FOLDER`. So its own
validate, plan and test run on a project's files with no account: what is unknown before something exists stays unknown
in a plan. `terraform_provider.py serve FOLDER ROOM` serves both providers at sockets in the folder ROOM for many
commands, until its input ends. It also serves both of a second kind, whose plans give the ids that Azure will give:
from these it can be read what refers to what.
"""

import base64
import concurrent.futures
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import msgpack  # type: ignore[import-untyped]
from tf.gen import tfplugin_pb2 as protocol  # type: ignore[import-untyped]
from tf.gen import tfplugin_pb2_grpc as service
from tf.runner import _self_signed_cert  # type: ignore[import-untyped]
from validate import terraform_names, terraform_schema
from validate.terraform_names import SUBSCRIPTION

UNKNOWN = msgpack.ExtType(0, b"\0")


def unpack(value: protocol.DynamicValue) -> Any:
    """Return what terraform sent; what it does not know yet is `UNKNOWN`."""
    return msgpack.unpackb(value.msgpack, strict_map_key=False)


def pack(value: Any) -> protocol.DynamicValue:
    """Return a value as terraform reads it."""
    return protocol.DynamicValue(msgpack=msgpack.packb(value))


def filled(block: protocol.Schema.Block, value: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return a block with what only the provider sets: as in `said`, else unknown."""
    result = dict(value)
    for attribute in block.attributes:
        if attribute.computed and result[attribute.name] is None:
            result[attribute.name] = said.get(attribute.name, UNKNOWN)
    # Of what is set in blocks, only the principal of a resource is asked for.
    said = {key: value for key, value in said.items() if key == "principal_id"}
    for nested in block.block_types:
        inner = result[nested.type_name]
        if isinstance(inner, list):
            result[nested.type_name] = [filled(nested.block, one, said) for one in inner]
    return result


def foretold(kind: str, block: protocol.Schema.Block, value: dict[str, Any]) -> dict[str, Any]:
    """Return what Azure would say of a resource: its id, who acts for it, and a stand-in for every other text."""
    id_, name = terraform_names.resource_id(kind, value), value.get("name")
    own = {
        "id": id_,
        "role_definition_resource_id": id_,
        "principal_id": f"principal of {name}",
        "client_id": f"client of {name}",
    }
    # What an author may set, and has not, stays empty.
    texts = [one for one in block.attributes if one.computed and one.type == b'"string"']
    return {one.name: None if one.optional else f"{id_}#{one.name}" for one in texts} | own


class Provider(service.ProviderServicer):  # type: ignore[misc]
    """The protocol's calls that validate, plan and test need; any other is refused."""

    def __init__(self, schema: protocol.GetProviderSchema.Response, *, foretells: bool = False) -> None:
        """Take the schema that is served, and whether plans give what Azure will."""
        self.schema = schema
        self.foretells = foretells

    def GetMetadata(self, request: Any, context: Any) -> Any:
        """Name what there is."""
        answer = protocol.GetMetadata.Response()
        for kind in self.schema.resource_schemas:
            answer.resources.add(type_name=kind)
        for kind in self.schema.data_source_schemas:
            answer.data_sources.add(type_name=kind)
        return answer

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        """Give the schema."""
        return self.schema

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        """Take any settings of the provider that fit the schema."""
        return protocol.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        """Refuse a value for what only the provider sets; terraform leaves that to the provider."""
        answer = protocol.ValidateResourceConfig.Response()
        for name in unconfigurable(self.schema.resource_schemas[request.type_name].block, unpack(request.config)):
            text = f"Can't configure a value for {name}: it is decided when the resource is made"
            answer.diagnostics.add(severity=protocol.Diagnostic.ERROR, summary=text)
        return answer

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        """Take any data source that fits the schema."""
        return protocol.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        """Log in nowhere."""
        return protocol.ConfigureProvider.Response()

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        """Plan what was asked for."""
        value = unpack(request.proposed_new_state)
        if value is None:
            return protocol.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        block = self.schema.resource_schemas[request.type_name].block
        planned = filled(block, value, foretold(request.type_name, block, value) if self.foretells else {})
        return protocol.PlanResourceChange.Response(planned_state=pack(planned))

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        """Find everything that is looked for, in a subscription whose id is all zeros."""
        value = unpack(request.config)
        zeros = SUBSCRIPTION.rsplit("/", 1)[-1]
        said = {"id": SUBSCRIPTION, "location": "westeurope", **dict.fromkeys(("tenant_id", "subscription_id"), zeros)}
        if request.type_name == "azurerm_resource_group":
            said["id"] = f"{SUBSCRIPTION}/resourceGroups/{value['name']}"
        for attribute in self.schema.data_source_schemas[request.type_name].block.attributes:
            if attribute.computed and value[attribute.name] is None:
                value[attribute.name] = said.get(attribute.name)
        return protocol.ReadDataSource.Response(state=pack(value))

    def StopProvider(self, request: Any, context: Any) -> Any:
        """Have nothing to stop."""
        return protocol.StopProvider.Response()


def unconfigurable(block: protocol.Schema.Block, value: dict[str, Any]) -> list[str]:
    """Return what was set though only the provider sets it."""
    found = [one.name for one in block.attributes if not (one.optional or one.required) and value[one.name] is not None]
    for nested in block.block_types:
        inner = value[nested.type_name]
        found += (
            [name for one in inner if one for name in unconfigurable(nested.block, one)]
            if isinstance(inner, list)
            else []
        )
    return found


def schema(name: str, folder: str) -> protocol.GetProviderSchema.Response:
    """Return the schema of a provider."""
    return terraform_schema.azurerm(Path(folder)) if name == "azurerm" else terraform_schema.azapi()


def server(provider: Provider) -> grpc.Server:
    """Return a server that has not yet started."""
    made = grpc.server(concurrent.futures.ThreadPoolExecutor(10), options=[("grpc.max_send_message_length", -1)])
    service.add_ProviderServicer_to_server(provider, made)
    return made


def plugin(name: str, folder: str) -> None:
    """Serve a provider to the terraform that started this process, until it says that it is done."""
    done = threading.Event()

    # terraform's own way to end a plugin and to read its output; without it, it waits for two seconds.
    def end(request: Any, context: Any) -> bytes:
        done.set()
        return b""

    shutdown = grpc.unary_unary_rpc_method_handler(end)
    stream = grpc.unary_stream_rpc_method_handler(lambda request, context: iter(()))
    certificate, credentials = _self_signed_cert()
    made = server(Provider(schema(name, folder)))
    made.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": shutdown}),
            grpc.method_handlers_generic_handler("plugin.GRPCStdio", {"StreamStdio": stream}),
        )
    )
    with tempfile.TemporaryDirectory() as room:
        made.add_secure_port(f"unix://{room}/plugin", credentials)
        made.start()
        print(f"1|6|unix|{room}/plugin|grpc|{base64.b64encode(certificate).decode().rstrip('=')}", flush=True)
        done.wait()
        made.stop(0.1).wait()


def serve(folder: str, room: str) -> None:
    """Serve everything until the input ends."""
    made = []
    for name in ("azurerm", "azapi"):
        for suffix in ("", "-foretold"):
            made.append(server(Provider(schema(name, folder), foretells=bool(suffix))))
            made[-1].add_insecure_port(f"unix://{room}/{name}{suffix}")
            made[-1].start()
    print("ready", flush=True)
    sys.stdin.read()
    for one in made:
        one.stop(None)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        plugin(*sys.argv[1:])
