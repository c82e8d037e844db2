// An exporter made with prom-client: default metrics and one of each kind. Prints its port.
import http from 'node:http';
import client from 'prom-client';

client.collectDefaultMetrics();
const requests = new client.Counter({ name: 'e2e_requests_total', help: 'Requests.', labelNames: ['code'] });
const level = new client.Gauge({ name: 'e2e_level', help: 'Level.' });
const seconds = new client.Histogram({ name: 'e2e_seconds', help: 'Durations.', labelNames: ['route'], buckets: [0.1, 0.5, 1, 5] });
const summary = new client.Summary({ name: 'e2e_size', help: 'Sizes.', percentiles: [0.5, 0.9] });
let n = 0;
setInterval(() => {
  n++;
  requests.inc({ code: n % 10 ? '200' : '500' });
  level.set(Math.sin(n / 10) * 100);
  seconds.observe({ route: n % 2 ? '/a' : '/b' }, (n % 17) / 8);
  summary.observe(n % 100);
}, 20);
const server = http.createServer(async (rq, rs) => {
  rs.setHeader('Content-Type', client.register.contentType);
  rs.end(await client.register.metrics());
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
