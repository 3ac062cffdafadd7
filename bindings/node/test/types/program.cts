import fuse = require("fuse-runtime");

const runtime: fuse.Runtime = new fuse.Runtime();
const records: fuse.LogRecord[] = runtime.logRecords();
console.log(records.length);
