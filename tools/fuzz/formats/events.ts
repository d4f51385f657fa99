/**
 * TensorBoard's event files, which the library only writes: whatever it is handed, what it writes are whole records
 * that another library reads, and what it refuses leaves none.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import protobuf from "npm:protobufjs@8.8.1";
import { EventFile, maskedCrc32c } from "../../../src/report/event_file.ts";
import { encodePng } from "../../../src/report/pictures.ts";
import { type Format, holds } from "../format.ts";
import { mutateBytes } from "../mutations.ts";
import type { Chance } from "../random.ts";

// tensorflow/core/util/event.proto, framework/summary.proto and framework/tensor.proto.
const { root } = protobuf.parse(
  `syntax = "proto3";
  message SessionLog { int32 status = 1; }
  message PluginData { string plugin_name = 1; }
  message SummaryMetadata { PluginData plugin_data = 1; }
  message TensorShapeProto { repeated int64 dim = 2; }
  message TensorProto { int32 dtype = 1; TensorShapeProto tensor_shape = 2; repeated bytes string_val = 8; }
  message HistogramProto {
    double min = 1; double max = 2; double num = 3; double sum = 4; double sum_squares = 5;
    repeated double bucket_limit = 6 [packed = true]; repeated double bucket = 7 [packed = true];
  }
  message Image { int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes encoded_image_string = 4; }
  message Value {
    string tag = 1;
    oneof value { float simple_value = 2; Image image = 4; HistogramProto histo = 5; TensorProto tensor = 8; }
    SummaryMetadata metadata = 9;
  }
  message Summary { repeated Value value = 1; }
  message Event {
    double wall_time = 1; int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }
  }`,
  { keepCase: true },
);
const Event = root.lookupType("Event");

const TEXTS = [
  "",
  "loss",
  "a/b",
  "\ud800",
  "x\udc00y",
  "\u0000",
  "__proto__",
  "é🦕",
  "x".repeat(70_000),
];
const NUMBERS = [0, -0, 1, NaN, Infinity, -Infinity, 1e308, -1e308, 5e-324, 1e39, 2 ** 53];

/** What is written for TensorBoard. */
export const events: Format = {
  name: "tfevents",
  place: /./, // there is no place in a file that is not written
  allowance: 8 << 20,
  // What cannot be written is refused by what it is, before there is any place in the file.
  documented: (error) => error instanceof RangeError || error instanceof TypeError,
  async prepare(folder) {
    const png = await encodePng({
      ...{ width: 2, height: 1, pixels: Uint8Array.of(0, 1) },
      palette: [[0, 0, 0], [255, 255, 255]],
    });
    return (chance) => {
      const writes = Array.from({ length: chance.between(1, 6) }, () => aWrite(chance, png));
      return {
        bytes: 1 << 20,
        file: "",
        async read() {
          const file = await EventFile.open(folder, chance.oneIn(4) ? { resumeStep: 3 } : {});
          try {
            let refused: unknown;
            let written = 0;
            for (const write of writes) {
              try {
                write(file);
                written++;
              } catch (error) {
                refused = error;
              }
            }
            const found = readEvents(Deno.readFileSync(file.path));
            holds(
              found - written >= 1 && found - written <= 2,
              `${written} writes, ${found} records`,
            );
            if (refused) throw refused;
          } finally {
            file.close();
            Deno.removeSync(file.path);
          }
        },
      };
    };
  },
};

function aWrite(chance: Chance, png: Uint8Array): (file: EventFile) => void {
  const tag = chance.pick(TEXTS);
  const step = chance.pick([0, 1, 7, -1, 2 ** 53 - 1, -(2 ** 53) + 1, 2 ** 53, 0.5, NaN, 2 ** 31]);
  const numbers = Array.from({ length: chance.pick([0, 1, 5, 300]) }, () => chance.pick(NUMBERS));
  const finite = numbers.filter((n) => Number.isFinite(n) && Math.abs(n) < 1e300);
  return chance.pick<(file: EventFile) => void>([
    (file) => file.scalar(tag, chance.pick(NUMBERS), step),
    (file) =>
      file.scalars(
        Object.fromEntries(numbers.map((n, i) => [`${tag.slice(0, 999)}${i}`, n])),
        step,
      ),
    (file) => file.text(tag, chance.pick(TEXTS), step),
    (file) => file.histogram(tag, chance.oneIn(3) ? numbers : finite, step),
    (file) => file.image(tag, chance.oneIn(2) ? png : mutateBytes(png, chance), step),
  ]);
}

/** How many events a file has; throws where a record is not whole, or a text came out as another. */
function readEvents(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  let count = 0;
  for (let at = 0; at < bytes.length; count++) {
    const length = Number(view.getBigUint64(at, true));
    holds(at + 16 + length <= bytes.length, `record ${count} is cut short`);
    const data = bytes.subarray(at + 12, at + 12 + length);
    holds(view.getUint32(at + 8, true) === maskedCrc32c(bytes.subarray(at, at + 8)), "a wrong CRC");
    holds(view.getUint32(at + 12 + length, true) === maskedCrc32c(data), "a wrong CRC");
    const event = Event.decode(Buffer.from(data));
    holds(Event.verify(event) === null, `record ${count} is no event`);
    const again = Event.encode(event).finish();
    holds(Event.toObject(Event.decode(again)) !== undefined, `record ${count} is no event`);
    at += 16 + length;
  }
  return count;
}
