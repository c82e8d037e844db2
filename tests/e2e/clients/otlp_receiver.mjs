// A receiver for OTLP/HTTP protobuf and Zipkin v2 JSON that takes nothing on trust: every OTLP request must decode with the
// schema below (written down from opentelemetry-proto's published definitions), hold no field the schema does not know, and
// re-encode to the same message; every Zipkin span must have only Zipkin's fields, of their types. Prints its port, then a
// JSON line a request. REPLIES is a comma list of what to answer, the last one repeated: 200, partial, 503, 503+1
// (Retry-After: 1), 400, garbage, hang.
import http from "node:http";
import zlib from "node:zlib";
import protobuf from "protobufjs";

const schema = `syntax = "proto3";
message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4;
  ArrayValue array_value = 5; KeyValueList kvlist_value = 6; bytes bytes_value = 7; } }
message ArrayValue { repeated AnyValue values = 1; }
message KeyValueList { repeated KeyValue values = 1; }
message KeyValue { string key = 1; AnyValue value = 2; }
message Scope { string name = 1; string version = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }
message Resource { repeated KeyValue attributes = 1; uint32 dropped_attributes_count = 2; }
message Traces { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; string schema_url = 3; }
message ScopeSpans { Scope scope = 1; repeated Span spans = 2; string schema_url = 3; }
message Event { fixed64 time_unix_nano = 1; string name = 2; repeated KeyValue attributes = 3; uint32 dropped_attributes_count = 4; }
message Link { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; repeated KeyValue attributes = 4;
  uint32 dropped_attributes_count = 5; fixed32 flags = 6; }
message Status { string message = 2; int32 code = 3; }
message Span { bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5;
  int32 kind = 6; fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9;
  uint32 dropped_attributes_count = 10; repeated Event events = 11; uint32 dropped_events_count = 12;
  repeated Link links = 13; uint32 dropped_links_count = 14; Status status = 15; fixed32 flags = 16; }
message Metrics { repeated ResourceMetrics resource_metrics = 1; }
message ResourceMetrics { Resource resource = 1; repeated ScopeMetrics scope_metrics = 2; string schema_url = 3; }
message ScopeMetrics { Scope scope = 1; repeated Metric metrics = 2; string schema_url = 3; }
message Metric { string name = 1; string description = 2; string unit = 3;
  oneof data { Gauge gauge = 5; Sum sum = 7; Histogram histogram = 9; ExponentialHistogram exponential_histogram = 10; } }
message Gauge { repeated Number data_points = 1; }
message Sum { repeated Number data_points = 1; int32 aggregation_temporality = 2; bool is_monotonic = 3; }
message Histogram { repeated HistogramPoint data_points = 1; int32 aggregation_temporality = 2; }
message ExponentialHistogram { repeated ExponentialPoint data_points = 1; int32 aggregation_temporality = 2; }
message Exemplar { fixed64 time_unix_nano = 2; oneof value { double as_double = 3; sfixed64 as_int = 6; }
  bytes span_id = 4; bytes trace_id = 5; repeated KeyValue filtered_attributes = 7; }
message Number { fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; oneof value { double as_double = 4;
  sfixed64 as_int = 6; } repeated Exemplar exemplars = 5; repeated KeyValue attributes = 7; uint32 flags = 8; }
message HistogramPoint { fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4; double sum = 5;
  repeated fixed64 bucket_counts = 6; repeated double explicit_bounds = 7; repeated Exemplar exemplars = 8;
  repeated KeyValue attributes = 9; uint32 flags = 10; double min = 11; double max = 12; }
message Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2; }
message ExponentialPoint { repeated KeyValue attributes = 1; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3;
  fixed64 count = 4; double sum = 5; sint32 scale = 6; fixed64 zero_count = 7; Buckets positive = 8; Buckets negative = 9;
  uint32 flags = 10; repeated Exemplar exemplars = 11; double min = 12; double max = 13; double zero_threshold = 14; }
message Logs { repeated ResourceLogs resource_logs = 1; }
message ResourceLogs { Resource resource = 1; repeated ScopeLogs scope_logs = 2; string schema_url = 3; }
message ScopeLogs { Scope scope = 1; repeated LogRecord log_records = 2; string schema_url = 3; }
message LogRecord { fixed64 time_unix_nano = 1; int32 severity_number = 2; string severity_text = 3; AnyValue body = 5;
  repeated KeyValue attributes = 6; uint32 dropped_attributes_count = 7; fixed32 flags = 8; bytes trace_id = 9;
  bytes span_id = 10; fixed64 observed_time_unix_nano = 11; string event_name = 12; }
`;
const root = protobuf.parse(schema, { keepCase: false }).root;
const types = { "/v1/traces": "Traces", "/v1/metrics": "Metrics", "/v1/logs": "Logs" };

// Every field number and wire type, message by message.
function walk(type, bytes, path) {
  const r = protobuf.Reader.create(bytes);
  const wires = { double: 1, fixed64: 1, sfixed64: 1, fixed32: 5, string: 2, bytes: 2, bool: 0, int32: 0, int64: 0, uint32: 0,
                  uint64: 0, sint32: 0 };
  while (r.pos < r.len) {
    const tag = r.uint32(), field = type.fieldsById[tag >>> 3], wire = tag & 7;
    if (!field) throw new Error(`${path}: unknown field ${tag >>> 3}`);
    field.resolve();
    const packed = field.repeated && field.type in wires && wires[field.type] !== 2;
    const want = field.type in wires && !packed ? wires[field.type] : 2;
    if (wire !== want) throw new Error(`${path}.${field.name}: wire type ${wire}, not ${want}`);
    if (wire === 2) {
      const inner = r.bytes();
      if (field.resolvedType) walk(field.resolvedType, inner, `${path}.${field.name}`);
      else if (field.type === "string") new TextDecoder("utf-8", { fatal: true }).decode(inner);
    } else r.skipType(wire);
  }
}

function check(url, body) {
  const type = root.lookupType(types[url]);
  walk(type, body, types[url]);
  const message = type.decode(body);
  const wrong = type.verify(message);
  if (wrong) throw new Error(wrong);
  const plain = type.toObject(message, { longs: String, bytes: (b) => Buffer.from(b).toString("hex") , defaults: false });
  const again = type.toObject(type.decode(type.encode(message).finish()), { longs: String, bytes: (b) => Buffer.from(b).toString("hex") });
  if (JSON.stringify(plain) !== JSON.stringify(again)) throw new Error("does not survive another encoding");
  return plain;
}

// Zipkin v2: what a span may hold; strict about numbers (whole, positive) and about tags (text only).
function zipkin(spans) {
  const endpoint = (e, what) => {
    for (const [k, v] of Object.entries(e))
      if (k === "port" ? !Number.isInteger(v) : !["serviceName", "ipv4", "ipv6"].includes(k) || typeof v !== "string") throw new Error(`${what}.${k}`);
  };
  const fields = {
    traceId: (v) => /^[0-9a-f]{32}$/.test(v), id: (v) => /^[0-9a-f]{16}$/.test(v) && v !== "0".repeat(16),
    parentId: (v) => /^[0-9a-f]{16}$/.test(v), name: (v) => typeof v === "string",
    kind: (v) => ["CLIENT", "SERVER", "PRODUCER", "CONSUMER"].includes(v),
    timestamp: (v) => Number.isInteger(v) && v > 1e15 && v < 1e16, duration: (v) => Number.isInteger(v) && v > 0,
    localEndpoint: (v) => { endpoint(v, "localEndpoint"); return v.serviceName.length > 0; },
    remoteEndpoint: (v) => { endpoint(v, "remoteEndpoint"); return true; },
    annotations: (v) => v.length > 0 && v.every((a) => Object.keys(a).sort().join() === "timestamp,value" && Number.isInteger(a.timestamp) && typeof a.value === "string"),
    tags: (v) => Object.keys(v).length > 0 && Object.values(v).every((t) => typeof t === "string"),
  };
  for (const s of spans) {
    for (const k of ["traceId", "id", "timestamp", "duration", "localEndpoint"]) if (!(k in s)) throw new Error(`no ${k}`);
    for (const [k, v] of Object.entries(s)) if (!fields[k]?.(v)) throw new Error(`${k}: ${JSON.stringify(v)}`);
  }
  return spans;
}

// JSON.parse keeps the last of two members with one name: the text must be what its own parse prints.
function strict(text) {
  let depth = 0;
  const seen = [];
  for (const m of text.matchAll(/"(?:[^"\\]|\\.)*"\s*:?|[{}]/g)) {
    if (m[0] === "{") seen[++depth] = new Set();
    else if (m[0] === "}") depth--;
    else if (m[0].endsWith(":") && seen[depth].size === seen[depth].add(m[0]).size) throw new Error(`twice: ${m[0]}`);
  }
  return JSON.parse(text);
}

const replies = (process.env.REPLIES || "200").split(",");
const server = http.createServer((req, res) => {
  const parts = [];
  req.on("data", (d) => parts.push(d));
  req.on("end", () => {
    const line = { url: req.url, headers: req.headers, bytes: 0 }, reply = replies.length > 1 ? replies.shift() : replies[0];
    try {
      let body = Buffer.concat(parts);
      line.bytes = body.length;
      if (req.headers["content-encoding"] === "gzip") body = zlib.gunzipSync(body);
      line.message = req.url === "/api/v2/spans" ? zipkin(strict(new TextDecoder("utf-8", { fatal: true }).decode(body))) : check(req.url, body);
    } catch (e) {
      line.error = String(e);
    }
    line.reply = reply;
    console.log(JSON.stringify(line, (k, v) => (v?.type === "Buffer" ? Buffer.from(v.data).toString("hex") : v)));
    if (reply === "hang") return;
    if (reply === "garbage") { req.socket.end("what is this\r\n\r\n"); return; }
    const [status, after] = reply === "partial" ? ["200"] : reply.split("+");
    if (after) res.setHeader("Retry-After", after);
    res.statusCode = Number(status);
    res.setHeader("Content-Type", "application/x-protobuf");
    res.end(reply === "partial" ? Buffer.from([10, 7, 8, 2, 18, 3, 98, 97, 100]) : "");
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.stdout.write("", () => process.exit(0))).resume();
