"""Makes the schemas beside this file anew, from published packages: see README.md.

    npm pack cloudevents@10.0.0 @elastic/ecs@8.11.5      unpacked into FOLDER/cloudevents and FOLDER/ecs
    pip install ocsf-json-schema==1.2.0
    python3 regenerate.py FOLDER
"""

import json
import subprocess
import sys
from pathlib import Path

from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

HERE = Path(__file__).parent
CLASSES = ["account_change", "api_activity", "application_lifecycle", "authentication"]
# The attributes that exports have. What is not here is left out of the schemas, and so refused.
USED = set(
    """activity_id activity_name actor api app auth_protocol auth_protocol_id category_name category_uid class_name
    class_uid code correlation_uid credential_uid dst_endpoint duration event_code http_method http_request invoked_by
    ip is_remote labels log_name message metadata name operation org original_time owner path product query_string
    request resources response sequence service session severity severity_id src_endpoint status status_code
    status_detail status_id svc_name tenant_uid time type type_id type_name type_uid uid unmapped url user
    user_result vendor_name version""".split()
)
# ECS field sets that exports use.
SETS = {"ecs", "error", "event", "http", "observer", "organization", "related", "rule", "service", "source", "url", "user"}


def pruned(schema):
    if isinstance(schema, list):
        return [pruned(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in ("title", "description", "examples", "$comment") and isinstance(value, (str, list)):
            continue
        if key == "properties":
            value = {name: pruned(one) for name, one in value.items() if name in USED}
        elif key not in ("enum", "const", "required"):
            value = pruned(value)
        kept[key] = value
    return kept


def reachable(schema):
    """Leaves out the definitions that nothing refers to any more."""
    defs, seen, todo = schema.pop("$defs", {}), set(), [schema]
    while todo:
        text = json.dumps(todo.pop())
        for name in defs:
            if name not in seen and f'"#/$defs/{name}"' in text:
                seen.add(name)
                todo.append(defs[name])
    schema["$defs"] = {name: defs[name] for name in sorted(seen)}
    return schema


def write(name, value):
    (HERE / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def from_js(text):
    return json.loads(subprocess.run(["node", "-e", text], capture_output=True, check=True, text=True).stdout)


def main(folder):
    ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.3.0"))
    for name in CLASSES:
        write(f"ocsf-1.3.0-{name}.json", reachable(pruned(ocsf.get_class_schema(name))))
    # The package ships its schema compiled, with the source of it in the first constant.
    source = (folder / "cloudevents/package/dist/schema/v1.js").read_text()
    start = source.index("= {", source.index("CloudEvents Specification JSON Schema") - 120) + 2
    literal = source[start : source.index("};\n", start) + 1]
    cloudevents = from_js(f"console.log(JSON.stringify({literal}))")
    for one in cloudevents["properties"].values():
        for key in ("description", "examples"):
            one.pop(key, None)
    write("cloudevents-1.0.json", cloudevents)
    path = json.dumps(str(folder / "ecs/package/generated/ecs_flat.js"))
    flat = from_js(f"console.log(JSON.stringify(Object.values(require({path}))[0]))")
    fields = {}
    for name, field in flat.items():
        if name.split(".")[0] in SETS or "." not in name:
            kept = {"type": field["type"]}
            if "array" in field["normalize"]:
                kept["array"] = True
            if "allowed_values" in field:
                kept["allowed"] = {
                    one["name"]: one.get("expected_event_types", []) for one in field["allowed_values"]
                }
            fields[name] = kept
    lines = [f" {json.dumps(name)}: {json.dumps(field, sort_keys=True)}" for name, field in sorted(fields.items())]
    (HERE / "ecs-8.11.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main(Path(sys.argv[1]))
