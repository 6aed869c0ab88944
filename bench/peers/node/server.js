// ws on Node, without compression. Arguments: PORT echo|fan|chat. See bench/README.md.
import { WebSocketServer } from 'ws';

const [port, mode] = process.argv.slice(2);
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(port),
  backlog: 4096,
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
const handle = handlers[mode];
if (!handle) throw new Error('arguments: PORT echo|fan|chat');

server.on('connection', (socket) => {
  socket.on('message', (data, binary) => handle(socket, data, binary));
  socket.on('close', () => leave(socket));
  // Cut connections need no handling.
  socket.on('error', () => {});
});
server.on('listening', () => console.log(`ready ${server.address().port}`));
