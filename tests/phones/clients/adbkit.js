// Drives a phone with adbkit and prints one line of JSON: what each call returned, or {"failed": reason}.
// node adbkit.js SERVER_PORT SERIAL PHONE_PORT
const {Readable} = require('stream');
const {Adb} = require('@devicefarmer/adbkit');

const [serverPort, serial, phonePort] = process.argv.slice(2);
const client = Adb.createClient({host: '127.0.0.1', port: Number(serverPort)});
const device = client.getDevice(serial);
const text = async (stream) => (await Adb.util.readAll(stream)).toString();
const ended = (transfer) => new Promise((resolve, reject) => transfer.on('end', resolve).on('error', reject));
const content = Buffer.alloc(300000, 'payload');
const pieces = [0, 1, 2, 3, 4].map((n) => content.subarray(n * 60000, (n + 1) * 60000)); // adb takes 64 KiB at once
const tapped = [[540, 1950], [810, 1650]].map(([x, y]) => `input tap ${x} ${y}`);

const calls = {
  devices: async () => (await client.listDevices()).map((each) => each.id),
  shell: async () => text(await device.shell('echo out; false; echo $?')),
  model: async () => (await device.getProperties())['ro.product.model'],
  push: async () => ended(await device.push(Readable.from(pieces), '/sdcard/Download/up')),
  stat: async () => (await device.stat('/sdcard/Download/up')).size,
  list: async () => (await device.readdir('/sdcard/Download')).map((entry) => entry.name),
  pull: async () => (await Adb.util.readAll(await device.pull('/sdcard/Download/up'))).equals(content),
  picture: async () => (await Adb.util.readAll(await device.screencap())).subarray(1, 4).toString(),
  send: async () => text(await device.shell(`${tapped[0]}; input text Hello; ${tapped[1]}`)),
  start: async () => device.startActivity({component: 'com.sim.shop/.HomeActivity'}),
  focus: async () => text(await device.shell('dumpsys window | grep mCurrentFocus')),
  installed: async () => [await device.isInstalled('com.sim.shop'), await device.isInstalled('com.none')],
  booted: async () => { await device.waitBootComplete(); return true; },
  connect: async () => {
    const connected = await client.connect('127.0.0.1', Number(phonePort));
    return text(await client.getDevice(connected).shell('echo over tcp'));
  },
  reboot: async () => device.reboot(),
  back: async () => { await device.waitForDevice(); return text(await device.shell('echo back')); },
};

(async () => {
  const answers = {};
  for (const [name, call] of Object.entries(calls)) {
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('no answer within 10 s')), 10000).unref());
    try {
      answers[name] = (await Promise.race([call(), late])) ?? null;
    } catch (error) {
      answers[name] = {failed: String(error)};
    }
  }
  console.log(JSON.stringify(answers));
  process.exit(0);
})();
