/**
 * Metrics in Prometheus' text format.
 *
 * @module
 */
import type { EngineStats } from "./engine.ts";

/** Upper bounds of the histogram buckets, in seconds. */
const BUCKETS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];

class Histogram {
  readonly #counts = BUCKETS.map(() => 0);
  #count = 0;
  #sum = 0;

  observe(seconds: number): void {
    BUCKETS.forEach((bound, i) => this.#counts[i]! += Number(seconds <= bound));
    this.#count++;
    this.#sum += seconds;
  }

  lines(name: string): string[] {
    return [
      ...BUCKETS.map((bound, i) => `${name}_bucket{le="${bound}"} ${this.#counts[i]}`),
      `${name}_bucket{le="+Inf"} ${this.#count}`,
      `${name}_sum ${this.#sum}`,
      `${name}_count ${this.#count}`,
    ];
  }
}

/** The counters of a server. */
export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #firstToken = new Histogram();
  readonly #duration = new Histogram();

  /** Counts an answer by its path and HTTP status. */
  answered(path: string, status: number): void {
    const labels = `{path="${path}",status="${status}"}`;
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
  }

  /** Records the seconds from a request for a completion to its first text. */
  firstText(seconds: number): void {
    this.#firstToken.observe(seconds);
  }

  /** Records the seconds from a request for a completion to its end. */
  ended(seconds: number): void {
    this.#duration.observe(seconds);
  }

  /** Formats all metrics, including those of the engine. */
  text(stats: EngineStats): string {
    const lines: string[] = [];
    const add = (name: string, type: string, help: string, values: readonly string[]) =>
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...values);
    const one = (name: string, type: string, help: string, value: number) =>
      add(name, type, help, [`${name} ${value}`]);
    const requests = "dinograd_http_requests_total";
    const counted = [...this.#requests].map(([labels, count]) => `${requests}${labels} ${count}`);
    add(requests, "counter", "Answers by path and status.", counted);
    one("dinograd_requests_running", "gauge", "Sequences in the batch.", stats.running);
    one("dinograd_requests_waiting", "gauge", "Sequences that wait.", stats.waiting);
    one("dinograd_cache_bytes", "gauge", "Bytes of keys and values.", stats.cacheBytes);
    for (
      const [name, help, value] of [
        ["prompt_tokens", "Tokens of prompts.", stats.promptTokens],
        ["cached_prompt_tokens", "Of these, known from earlier prompts.", stats.cachedTokens],
        ["generated_tokens", "Tokens drawn.", stats.generatedTokens],
        ["steps", "Steps of the batch.", stats.steps],
        ["preemptions", "Sequences that gave their place back.", stats.preemptions],
      ] as const
    ) one(`dinograd_${name}_total`, "counter", help, value);
    const first = "dinograd_time_to_first_token_seconds",
      whole = "dinograd_request_duration_seconds";
    add(first, "histogram", "From a request to its first text.", this.#firstToken.lines(first));
    add(whole, "histogram", "From a request to its end.", this.#duration.lines(whole));
    return lines.join("\n") + "\n";
  }
}
