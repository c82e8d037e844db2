// Sends one of each instrument with the OpenTelemetry SDK.
// usage: node otel_metrics.mjs proto|json|grpc URL [gzip|none] [CA.pem]
// grpc over TLS: an https URL and the CA file.
import { readFileSync } from 'node:fs';
import { metrics } from '@opentelemetry/api';
import { OTLPMetricExporter as GrpcExporter } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as JsonExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { credentials } from '@grpc/grpc-js';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';

const [kind, url, compression = 'gzip', ca] = process.argv.slice(2);
const Exporter = { proto: ProtoExporter, json: JsonExporter, grpc: GrpcExporter }[kind];
const options = { url, compression };
if (ca) options.credentials = credentials.createSsl(readFileSync(ca));
const reader = new PeriodicExportingMetricReader({
  exporter: new Exporter(options),
  exportIntervalMillis: 3600000,
});
const provider = new MeterProvider({
  resource: resourceFromAttributes({ 'service.name': `js-${kind}`, 'service.namespace': 'e2e', 'service.instance.id': 'i1', 'cloud.region': 'eu' }),
  readers: [reader],
  views: [{ instrumentName: 'exp.latency', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: { maxSize: 160 } } }],
});
metrics.setGlobalMeterProvider(provider);
const meter = metrics.getMeter('shop', '1.2.3');
meter.createCounter('orders', { unit: '1', description: 'Orders placed' }).add(3, { 'region.name': 'eu' });
meter.createUpDownCounter('queue.size').add(-2);
meter.createGauge('temperature', { unit: 'Cel' }).record(21.5);
const h = meter.createHistogram('request.duration', { unit: 's', advice: { explicitBucketBoundaries: [0.1, 0.5, 1] } });
for (const v of [0.05, 0.3, 0.7, 2]) h.record(v, { route: '/x' });
const e = meter.createHistogram('exp.latency', { unit: 'ms' });
for (let i = 1; i <= 100; i++) e.record(i);
meter.createObservableGauge('observed').addCallback((r) => r.observe(7));
await provider.forceFlush();
await provider.shutdown();
