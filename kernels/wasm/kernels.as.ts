// The one entry: everything exported here is a kernel that the thread pool can run by name (see README.md).
export { heap_base } from "./layout.as";
export { sgemm } from "./gemm.as";
export { sgemv } from "./gemv.as";
