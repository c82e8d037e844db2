// Calls of a real gRPC client, with bytes as they are. Prints one JSON object per call: {name, code, details, hex}.
// usage: node grpc_calls.mjs HOST:PORT
import { Client, credentials, Metadata } from '@grpc/grpc-js';

const client = new Client(process.argv[2], credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
const bytes = (b) => b;
const EXPORT = '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export';

function call(name, path, message, { metadata = new Metadata(), ...options } = {}) {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, bytes, bytes, message, metadata, options, (error, answer) => {
      const retry = error?.metadata?.get('grpc-status-details-bin')?.length ?? 0;
      resolve({ name, code: error?.code ?? 0, details: error?.details ?? '', hex: answer?.toString('hex') ?? '', retry });
    });
  });
}

const results = [
  await call('health', '/grpc.health.v1.Health/Check', Buffer.alloc(0)),
  await call('unknown', '/no.Such/Method', Buffer.alloc(0)),
  await call('bad', EXPORT, Buffer.from('0affff', 'hex')),
  await call('large', EXPORT, Buffer.alloc(33 << 20)),
  await call('late', EXPORT, Buffer.alloc(0), { deadline: Date.now() - 1000 }),
  ...(await Promise.all(Array.from({ length: 2000 }, () => call('many', EXPORT, Buffer.alloc(0))))),
];
console.log(JSON.stringify(results));
client.close();
