/**
 * The writer of parquet files that the seeds are made with.
 *
 * @module
 */
export { parquetWriteBuffer } from "npm:hyparquet-writer@0.17.0";

/** How a column's values are written. */
export type Encoding = "PLAIN" | "DELTA_LENGTH_BYTE_ARRAY" | "DELTA_BYTE_ARRAY";
