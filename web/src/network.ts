/** ONNX Runtime in WebAssembly on one thread. */

import * as ort from "onnxruntime-web/wasm";

export interface Tensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}

export interface Network {
  run(feeds: Record<string, Tensor>, outputs: string[]): Promise<Record<string, Tensor>>;
  tensor(data: Float32Array, dims: number[]): Tensor;
}

/**
 * One thread: more need headers that static web spaces cannot send, gain little beside a busy
 * page, and break on some phones.
 */
export function useRuntime(wasm: Uint8Array): void {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
}

export async function openNetwork(model: Uint8Array): Promise<Network> {
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  return {
    async run(feeds, outputs) {
      const found = await session.run(feeds as Record<string, ort.Tensor>, outputs);
      return found as unknown as Record<string, Tensor>;
    },
    tensor: (data, dims) => new ort.Tensor("float32", data, dims) as unknown as Tensor,
  };
}
