import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
// Reads the files with other code than wrote them, by the field numbers of TensorFlow's .proto files.
import protobuf from "npm:protobufjs@8.8.1";
import { crc32c, maskedCrc32c } from "../../src/report/crc32c.ts";
import { EventFile } from "../../src/report/event_file.ts";

const { root } = protobuf.parse(
  `
  syntax = "proto3";
  message SessionLog { int32 status = 1; }
  message PluginData { string plugin_name = 1; bytes content = 2; }
  message SummaryMetadata { PluginData plugin_data = 1; }
  message TensorShapeProto { repeated int64 dim = 2; }
  message TensorProto {
    int32 dtype = 1; TensorShapeProto tensor_shape = 2; repeated bytes string_val = 8;
  }
  message Value {
    string tag = 1;
    oneof value { float simple_value = 2; TensorProto tensor = 8; }
    SummaryMetadata metadata = 9;
  }
  message Summary { repeated Value value = 1; }
  message Event {
    double wall_time = 1;
    int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
  }
`,
  { keepCase: true },
);
const Event = root.lookupType("Event");

// deno-lint-ignore no-explicit-any -- what protobufjs makes of a message
type Parsed = any;

/** The events of a file, each record's two CRCs checked. */
async function readEvents(path: string): Promise<Parsed[]> {
  const bytes = await Deno.readFile(path);
  const view = new DataView(bytes.buffer);
  const events: Parsed[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    assert.equal(view.getUint32(at + 8, true), maskedCrc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.equal(data.length, length);
    assert.equal(view.getUint32(at + 12 + length, true), maskedCrc32c(data));
    events.push(Event.toObject(Event.decode(Buffer.from(data)), { longs: Number }));
    at += 16 + length;
  }
  return events;
}

async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("crc32c() returns the published values when given RFC 3720's examples", () => {
  const bytes = (value: (i: number) => number) =>
    Uint8Array.from({ length: 32 }, (_, i) => value(i));
  assert.equal(crc32c(bytes(() => 0)), 0x8a9136aa);
  assert.equal(crc32c(bytes(() => 0xff)), 0x62a8ab43);
  assert.equal(crc32c(bytes((i) => i)), 0x46dd794e);
  assert.equal(crc32c(bytes((i) => 31 - i)), 0x113fdb5c);
  assert.equal(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});

Deno.test("EventFile writes scalars and texts that TensorBoard's messages describe", async () => {
  await withFolder(async (base) => {
    const folder = join(base, "runs", "a");
    const before = Date.now() / 1000;
    using file = await EventFile.open(folder);
    assert.match(file.path, /a\/events\.out\.tfevents\.\d{10}\./);
    file.scalar("loss/train", 10.75, 1);
    file.scalars({ lr: 0.0005, grad_norm: NaN }, 300);
    file.text("samples", "Call me Ishmael — **ü**", 2 ** 40);
    await file.flush();
    const [version, one, two, text, ...rest] = await readEvents(file.path);
    assert.equal(rest.length, 0);
    assert.equal(version.file_version, "brain.Event:2");
    assert(version.wall_time >= before - 1e-3 && version.wall_time <= Date.now() / 1000);
    assert.equal(one.step, 1);
    assert.deepEqual(one.summary.value, [{ tag: "loss/train", simple_value: 10.75 }]);
    assert.equal(two.step, 300);
    assert.deepEqual(two.summary.value, [
      { tag: "lr", simple_value: Math.fround(0.0005) },
      { tag: "grad_norm", simple_value: NaN },
    ]);
    assert.equal(text.step, 2 ** 40);
    const [value] = text.summary.value;
    assert.equal(value.tag, "samples");
    assert.equal(value.metadata.plugin_data.plugin_name, "text");
    assert.equal(value.tensor.dtype, 7);
    assert.equal(Buffer.from(value.tensor.string_val[0]).toString(), "Call me Ishmael — **ü**");
    assert.throws(() => file.scalar("a", 1, 0.5), RangeError);
  });
});

Deno.test("EventFile marks the start of a session when a run is resumed", async () => {
  await withFolder(async (folder) => {
    using first = await EventFile.open(folder);
    using second = await EventFile.open(folder, { resumeStep: 42 });
    assert.notEqual(first.path, second.path);
    const [version, start] = await readEvents(second.path);
    assert.equal(version.file_version, "brain.Event:2");
    assert.equal(start.step, 42);
    assert.deepEqual(start.session_log, { status: 1 });
    second.close();
    second.close();
    assert.throws(() => second.scalar("a", 1, 1), /is already closed/);
  });
});
