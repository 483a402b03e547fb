// Sends a message as it is: node nodemailer_send.js OPTIONS.json MESSAGE
const fs = require('fs');
module.paths.push('/usr/share/nodejs', '/usr/lib/nodejs');
const nodemailer = require('nodemailer');
const options = JSON.parse(fs.readFileSync(process.argv[2]));
const transport = nodemailer.createTransport(options.transport);
transport
  .sendMail({ envelope: options.envelope, raw: fs.readFileSync(process.argv[3]) })
  .then((info) => console.log(info.response))
  .catch((e) => { console.error(e.message); process.exitCode = 1; })
  .finally(() => transport.close());
