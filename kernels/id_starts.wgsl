// starts[v] = the sum of counts[0 .. v], for v up to the vocabulary; one workgroup, each invocation a run
struct Params {
  vocabulary: u32,
}

@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> starts: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let run = (params.vocabulary + 255u) / 256u;
  let first = min(lane * run, params.vocabulary);
  let end = min(first + run, params.vocabulary);
  var sum = 0u;
  for (var v = first; v < end; v++) {
    sum += counts[v];
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0u;
    for (var k = 0u; k < 256u; k++) {
      let own = sums[k];
      sums[k] = total;
      total += own;
    }
    starts[params.vocabulary] = total;
  }
  workgroupBarrier();
  var at = sums[lane];
  for (var v = first; v < end; v++) {
    starts[v] = at;
    at += counts[v];
  }
}
