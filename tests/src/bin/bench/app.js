// Arguments: address, port.
const [, , address, port] = process.argv;
const small = Buffer.from('ok-'.repeat(19) + 'ok\n');
const big = Buffer.alloc(1000000, 'x');
require('http').createServer((request, response) => {
  const body = request.url === '/big' ? big : small;
  response.writeHead(200, { 'Content-Length': body.length });
  response.end(body);
}).listen(Number(port), address);
