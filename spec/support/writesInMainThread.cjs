// Makes durable writes run in the main thread, whether the disk is fast or slow. Loaded with --require into a daemon under
// strace, which counts the calls of each thread separately.
const fs = require('node:fs')
const { promisify } = require('node:util')

fs.writev = Object.assign(() => {}, {
  [promisify.custom]: async (fd, parts, position) => ({ bytesWritten: fs.writevSync(fd, parts, position) }),
})
