import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
// Reads the files with other code than wrote them, by the field numbers of TensorFlow's .proto files.
import protobuf from "npm:protobufjs@8.8.1";
import { crc32c, EventFile, maskedCrc32c } from "../../src/report/event_file.ts";
import { encodePng } from "../../src/report/pictures.ts";

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
  message HistogramProto {
    double min = 1; double max = 2; double num = 3; double sum = 4; double sum_squares = 5;
    repeated double bucket_limit = 6 [packed = true];
    repeated double bucket = 7 [packed = true];
  }
  message Image {
    int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes encoded_image_string = 4;
  }
  message Value {
    string tag = 1;
    oneof value {
      float simple_value = 2; Image image = 4; HistogramProto histo = 5; TensorProto tensor = 8;
    }
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
    file.lines("verse", "one\n*two*", 2 ** 40);
    file.lines("code", "one\n~~~~\ntwo", 2 ** 40);
    await file.flush();
    const [version, one, two, text, verse, code, ...rest] = await readEvents(file.path);
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
    const lines = verse.summary.value[0].tensor.string_val[0];
    assert.equal(Buffer.from(lines).toString(), "~~~\none\n*two*\n~~~");
    const fenced = code.summary.value[0].tensor.string_val[0];
    assert.equal(Buffer.from(fenced).toString(), "~~~~~\none\n~~~~\ntwo\n~~~~~");
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
    assert.throws(() => second.scalar("a", 1, 1), /expected an open file/);
  });
});

Deno.test("EventFile writes histograms that count every value when tags are many", async () => {
  await withFolder(async (folder) => {
    using file = await EventFile.open(folder);
    const weights = Float32Array.from(
      { length: 5000 },
      (_, i) => Math.sin(i * i) * 2 ** (i % 40 - 20),
    );
    const small = [-3, 0, 0, 1e-13, -1e-13, 7.5];
    file.histogram("weights/a", weights, 3);
    file.histograms({ small, one: [0.25] }, 4);
    const [, first, second] = await readEvents(file.path);
    assert.equal(first.step, 3);
    assert.deepEqual(second.summary.value.map(({ tag }: Parsed) => tag), ["small", "one"]);
    const written: [Parsed, ArrayLike<number>][] = [
      [first.summary.value[0].histo, weights],
      [second.summary.value[0].histo, small],
      [second.summary.value[1].histo, [0.25]],
    ];
    for (const [histogram, values] of written) {
      const sorted = Array.from(values).sort((a, b) => a - b);
      assert.equal(histogram.min, sorted[0]);
      assert.equal(histogram.max, sorted.at(-1));
      assert.equal(histogram.num, values.length);
      const sum = Array.from(values).reduce((sum, value) => sum + value, 0);
      const squares = Array.from(values).reduce((sum, value) => sum + value * value, 0);
      assert(Math.abs(histogram.sum - sum) <= 1e-9 * squares);
      assert(Math.abs(histogram.sum_squares - squares) <= 1e-9 * squares);
      let below = -Infinity;
      for (const [i, limit] of histogram.bucket_limit.entries()) {
        assert(limit > below);
        const inside = sorted.filter((value) => value >= below && value < limit).length;
        assert.equal(histogram.bucket[i], inside, `from ${below} to ${limit}`);
        below = limit;
      }
      assert.equal(histogram.bucket.length, histogram.bucket_limit.length);
      assert(below > histogram.max);
      assert(histogram.bucket[0] > 0 && histogram.bucket.at(-1) > 0);
    }
  });
});

Deno.test("EventFile.histograms() throws and writes nothing when a value is not finite", async () => {
  await withFolder(async (folder) => {
    using file = await EventFile.open(folder);
    assert.throws(
      () => file.histograms({ a: [1], "grads/b": [1, 2, NaN] }, 1),
      /RangeError: EventFile: histogram "grads\/b": expected finite values but got NaN at 2 of 3/,
    );
    assert.throws(() => file.histogram("a", [-Infinity], 1), RangeError);
    assert.throws(() => file.histogram("a", new Float32Array(0), 1), /at least one value/);
    assert.equal((await readEvents(file.path)).length, 1);
  });
});

Deno.test("EventFile.image() writes a PNG with its size, and throws when it is none", async () => {
  await withFolder(async (folder) => {
    using file = await EventFile.open(folder);
    const pixels = new Uint8Array(6);
    const png = await encodePng({ width: 3, height: 2, pixels, palette: [[1, 2, 3, 255]] });
    file.image("attention", png, 7);
    const [, event] = await readEvents(file.path);
    assert.equal(event.step, 7);
    const [{ tag, image }] = event.summary.value;
    assert.equal(tag, "attention");
    assert.deepEqual([image.width, image.height, image.colorspace], [3, 2, 3]);
    assert.deepEqual(new Uint8Array(image.encoded_image_string), new Uint8Array(png));
    assert.throws(
      () => file.image("a", new Uint8Array(40), 1),
      /TypeError: image: expected a PNG file/,
    );
    assert.throws(() => file.image("a", png.subarray(0, 20), 1), TypeError);
  });
});
