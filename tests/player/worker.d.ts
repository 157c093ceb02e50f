// What the live page's worker has beside a browser's own: ONNX Runtime Web, of which it uses this much.

interface OrtTensor {
  data: Float32Array | Int32Array;
}

interface OrtSession {
  run(inputs: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

declare const RUNTIMES: Record<"wasm" | "webgpu", () => Ort>;

interface Ort {
  env: { wasm: Record<string, unknown>; logLevel: string };
  Tensor: new (kind: string, data: Float32Array | Int32Array, shape: number[]) => OrtTensor;
  InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
}
