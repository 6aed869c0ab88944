// ws on Node, without compression. Arguments: PORT echo|fan|chat|tls. See bench/README.md.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { WebSocketServer } from 'ws';

const [port, mode] = process.argv.slice(2);
const { SPROCKET_BENCH_CERTIFICATE: certificate, SPROCKET_BENCH_KEY: key } = process.env;
const http = mode === 'tls'
  ? createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key) })
  : createServer();
const server = new WebSocketServer({
  server: http,
  perMessageDeflate: false,
  clientTracking: true,
});
const rooms = new Map();

function join(socket, name) {
  if (!rooms.has(name)) rooms.set(name, new Set());
  rooms.get(name).add(socket);
  socket.room = name;
}

function leave(socket) {
  const members = rooms.get(socket.room);
  members?.delete(socket);
  if (members?.size === 0) rooms.delete(socket.room);
}

const handlers = {
  echo(socket, data, binary) {
    socket.send(data, { binary });
  },
  fan(_socket, data, binary) {
    for (const client of server.clients) client.send(data, { binary });
  },
  chat(socket, data, binary) {
    if (socket.room === undefined) {
      join(socket, data.toString());
      socket.send(data, { binary });
      return;
    }
    for (const client of rooms.get(socket.room)) client.send(data, { binary });
  },
};
handlers.tls = handlers.echo;
const handle = handlers[mode];
if (!handle) throw new Error('arguments: PORT echo|fan|chat|tls');

server.on('connection', (socket) => {
  socket.on('message', (data, binary) => handle(socket, data, binary));
  socket.on('close', () => leave(socket));
  // Cut connections need no handling.
  socket.on('error', () => {});
});
http.listen({ host: '127.0.0.1', port: Number(port), backlog: 4096 }, () => {
  console.log(`ready ${http.address().port}`);
});
