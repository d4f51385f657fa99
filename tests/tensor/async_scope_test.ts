// Scopes and noGrad belong to the asynchronous task that opens them.
import assert from "node:assert/strict";
import { CpuDevice } from "../../src/device/cpu/cpu_device.ts";
import { generate } from "../../src/decode/generate.ts";
import { GPT2 } from "../../src/models/gpt2.ts";
import { add, exp, mul } from "../../src/ops/elementwise.ts";
import { sum } from "../../src/ops/reduce.ts";
import { tensor } from "../../src/tensor/create.ts";
import { RandomState } from "../../src/tensor/random.ts";
import { currentScope, Scope, scoped, unscoped } from "../../src/tensor/scope.ts";
import { enableGrad, noGrad, record } from "../../src/tensor/tape.ts";

const device = CpuDevice.open({ threads: 1 });
addEventListener("unload", () => device.close());
const sleep = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
const one = () => tensor([1], { device });

/** A test that no buffer outlives. */
function test(name: string, body: () => Promise<void>): void {
  Deno.test(name, async () => {
    const before = device.memory().buffers;
    await body();
    assert.equal(device.memory().buffers, before, "buffers are left");
    assert.equal(currentScope(), undefined, "a scope is left");
  });
}

/** Waits in a scope of its own between making a tensor and using it. */
async function waiting(milliseconds: number): Promise<number> {
  using _scope = new Scope();
  const x = one();
  await sleep(milliseconds);
  return await add(x, milliseconds).item();
}

test("Scope: tasks that wait keep their tensors, whichever ends first", async () => {
  assert.deepEqual(await Promise.all([waiting(10), waiting(30)]), [11, 31]);
  assert.deepEqual(await Promise.all([waiting(30), waiting(10)]), [31, 11]);
  const times = Array.from({ length: 50 }, (_, i) => (i * 37) % 50);
  assert.deepEqual(await Promise.all(times.map(waiting)), times.map((time) => time + 1));
});

test("Scope: what a callee without a scope makes is owned by the caller's", async () => {
  const made = async (milliseconds: number) => {
    await sleep(milliseconds);
    return one();
  };
  const task = async (milliseconds: number) => {
    using scope = new Scope();
    const x = await made(milliseconds);
    assert.ok(scope.owns(x));
    await sleep(5);
    return await x.item();
  };
  assert.deepEqual(await Promise.all([task(6), task(1), task(3)]), [1, 1, 1]);
});

test("Scope: nested scopes of tasks that interleave free their own", async () => {
  const task = async (milliseconds: number) => {
    using outer = new Scope();
    const x = one();
    for (let i = 0; i < 3; i++) {
      using inner = new Scope();
      const y = add(x, i);
      await sleep(milliseconds);
      assert.ok(inner.owns(mul(x, y)) && !y.disposed);
    }
    assert.ok(!x.disposed && outer.owns(one()), "not in the scope around the loop");
    await sleep(milliseconds);
    return await x.item();
  };
  using scope = new Scope();
  assert.deepEqual(await Promise.all([task(1), task(3), task(2), waiting(4)]), [1, 1, 1, 5]);
  assert.ok(scope.owns(one()));
});

test("Scope: a task that ends first does not end the scopes of those it started", async () => {
  let started: Promise<number> | undefined;
  {
    using _scope = new Scope();
    started = waiting(10);
  }
  assert.equal(currentScope(), undefined, "the caller is still inside");
  await sleep(1);
  assert.equal(currentScope(), undefined);
  assert.equal(await started, 11);
});

test("Scope: closing twice, out of order, or in another task frees each tensor once", async () => {
  const outer = new Scope();
  const inner = new Scope();
  const x = one();
  outer[Symbol.dispose]();
  assert.ok(!x.disposed, "the outer scope freed what the inner one owns");
  assert.equal(currentScope(), undefined);
  inner[Symbol.dispose]();
  inner[Symbol.dispose]();
  assert.ok(x.disposed);

  const shared = new Scope();
  const y = one();
  await (async () => {
    await sleep(1);
    shared[Symbol.dispose]();
  })();
  assert.ok(y.disposed);
  assert.equal(currentScope(), undefined);
});

test("Scope: one that a task forgets to close does not outlive the scope around it", async () => {
  const forgotten = async () => {
    new Scope();
    const x = one();
    await sleep(1);
    return x;
  };
  const left = await scoped(async () => {
    const x = await forgotten();
    assert.ok(currentScope() !== undefined);
    return x;
  });
  assert.equal(currentScope(), undefined);
  left.dispose();
  {
    using _scope = new Scope();
    new Scope();
  }
  assert.equal(currentScope(), undefined);
});

test("scoped() takes an asynchronous body and hands over what it returns", async () => {
  using scope = new Scope();
  const pending = scoped(async () => {
    const x = one();
    await sleep(2);
    return { sum: add(x, 1), x: x.disposed };
  });
  const here = one();
  assert.ok(scope.owns(here), "the caller is inside the scope of the body");
  await sleep(1);
  assert.ok(scope.owns(one()));
  const { sum, x } = await pending;
  assert.equal(x, false);
  assert.ok(scope.owns(sum) && !here.disposed);
  assert.equal(await sum.item(), 2);
  let made: ReturnType<typeof one> | undefined;
  const failing = scoped(async () => {
    made = one();
    await sleep(1);
    throw new Error("on purpose");
  });
  await assert.rejects(failing, /on purpose/);
  assert.ok(made!.disposed);
});

test("scoped(): the scope around an asynchronous body may end before it", async () => {
  let pending: Promise<ReturnType<typeof one>>;
  using last = new Scope();
  {
    using _scope = new Scope();
    pending = scoped(async () => {
      await sleep(2);
      return one();
    });
  }
  assert.ok(last.owns(await pending));
});

test("unscoped() holds for what an asynchronous body makes later", async () => {
  using scope = new Scope();
  const free = await unscoped(async () => {
    await sleep(1);
    return one();
  });
  assert.ok(!scope.owns(free));
  free.dispose();
  assert.ok(scope.owns(one()));
});

test("noGrad() in one task does not stop another's gradients", async () => {
  const evaluate = (milliseconds: number) =>
    noGrad(async () => {
      using _scope = new Scope();
      const x = one();
      x.requiresGrad = true;
      for (let i = 0; i < 5; i++) {
        assert.equal(exp(x).requiresGrad, false);
        assert.equal(enableGrad(() => exp(x)).requiresGrad, true);
        await sleep(milliseconds);
      }
    });
  const train = async (milliseconds: number) => {
    using _scope = new Scope();
    const x = one();
    x.requiresGrad = true;
    for (let i = 0; i < 5; i++) {
      sum(mul(x, 3)).backward();
      await sleep(milliseconds);
    }
    return await x.grad!.item();
  };
  const [first, , second] = await Promise.all([train(1), evaluate(1), train(2), evaluate(3)]);
  assert.deepEqual([first, second], [15, 15]);
});

test("a backward pass that is asynchronous is refused", () => {
  using _scope = new Scope();
  const x = one();
  x.requiresGrad = true;
  for (const wrap of [noGrad, scoped, unscoped]) {
    const output = record("my_op", [x], one(), [], (dOut) => {
      wrap(() => Promise.resolve());
      return [dOut];
    });
    assert.throws(
      () => output.backward(),
      new TypeError(
        `${wrap.name}: expected a synchronous body in a backward pass but got a promise`,
      ),
    );
  }
  return Promise.resolve();
});

test("requests to a server do not free each other's tensors", async () => {
  const failures: unknown[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    try {
      using scope = new Scope();
      const wait = Number(new URL(request.url).searchParams.get("wait"));
      const x = tensor([wait], { device });
      await sleep(wait);
      const y = noGrad(() => add(x, 1));
      await sleep(20 - wait);
      assert.ok(scope.owns(y));
      return new Response(String(await mul(y, 2).item()));
    } catch (error) {
      failures.push(error);
      return new Response("failed", { status: 500 });
    }
  });
  const { port } = server.addr as Deno.NetAddr;
  const waits = Array.from({ length: 24 }, (_, i) => (i * 7) % 20);
  const answers = await Promise.all(waits.map(async (wait) => {
    const response = await fetch(`http://127.0.0.1:${port}/?wait=${wait}`);
    return Number(await response.text());
  }));
  await server.shutdown();
  assert.deepEqual(failures, []);
  assert.deepEqual(answers, waits.map((wait) => (wait + 1) * 2));
});

Deno.test("generate() for several prompts at a time gives what each gives alone", async () => {
  const sizes = {
    vocabSize: 20,
    maxPositionEmbeddings: 32,
    hiddenSize: 8,
    numHiddenLayers: 1,
    numAttentionHeads: 2,
  };
  const model = new GPT2(sizes, { device, random: new RandomState(3) });
  const before = device.memory().buffers;
  const decode = (seed: number) => {
    const options = { maxTokens: 12, random: new RandomState(seed) };
    return scoped(() => generate(model, [[seed, 2]], options));
  };
  const alone = [];
  for (let seed = 0; seed < 4; seed++) alone.push(await decode(seed));
  assert.deepEqual(await Promise.all([0, 1, 2, 3].map(decode)), alone);
  assert.equal(device.memory().buffers, before);
  model.parameters().forEach((parameter) => parameter.dispose());
});
