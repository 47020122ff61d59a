// Keeps the HTTP executor from addresses that are nobody's business: decided on the address that is about to be connected
// to, so that a name that resolves to one, or a redirect to one, is caught as well as the address written down.

import { lookup } from 'node:dns';
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net';
import { buildConnector } from 'undici';

/**
 * Whether this address may be connected to. It is canonical: an IPv4 address inside an IPv6 one comes as IPv4, and "any"
 * (0.0.0.0, ::), which connects to this machine, as loopback.
 */
export type AllowAddress = (ip: string) => boolean;

const connectTimeoutMs = 10_000;

/** Link-local, where clouds answer with the machine's credentials, and the metadata addresses outside of it. */
const alwaysRefused = new BlockList();
alwaysRefused.addSubnet('169.254.0.0', 16, 'ipv4');
alwaysRefused.addSubnet('fe80::', 10, 'ipv6');
alwaysRefused.addAddress('fd00:ec2::254', 'ipv6');
alwaysRefused.addAddress('fd20:ce::254', 'ipv6');
alwaysRefused.addAddress('100.100.100.200', 'ipv4');
alwaysRefused.addAddress('192.0.0.192', 'ipv4');
alwaysRefused.addAddress('168.63.129.16', 'ipv4');

/** A connector for undici that connects to allowed addresses only; it gives up connecting after ten seconds. */
export function guardedConnector(allowAddress: AllowAddress): buildConnector.connector {
  const refusalOf = (name: string, ip: string): Error | undefined =>
    isAllowed(ip, allowAddress) ? undefined : new Error(`the address ${ip}${name === ip ? '' : ` of ${name}`} is not allowed`);
  const connect = buildConnector({ allowH2: false, timeout: connectTimeoutMs, lookup: guardedLookup(refusalOf) });
  return (options, callback) => {
    // An address written down is connected to without a look-up.
    const refused = isIP(options.hostname) === 0 ? undefined : refusalOf(options.hostname, options.hostname);
    if (refused === undefined) connect(options, callback);
    else callback(refused, null);
  };
}

/** A name of which one address is refused is refused whole: which one is connected to is a matter of chance. */
function guardedLookup(refusalOf: (name: string, ip: string) => Error | undefined): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (fault, addresses) => {
      if (fault !== null) return callback(fault, '', 0);
      const refused = addresses.map(({ address }) => refusalOf(hostname, address)).find((refusal) => refusal !== undefined);
      const [first] = addresses;
      if (refused !== undefined) callback(refused, '', 0);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first?.address ?? '', first?.family ?? 0);
    });
  };
}

function isAllowed(ip: string, allowAddress: AllowAddress): boolean {
  const canonical = canonicalAddress(ip);
  return !alwaysRefused.check(canonical, isIPv6(canonical) ? 'ipv6' : 'ipv4') && allowAddress(canonical);
}

/** The address that a connection to `ip` ends at; see AllowAddress. */
function canonicalAddress(ip: string): string {
  const bare = ip.replace(/%.*$/, '');
  const v4 = isIPv6(bare) ? embeddedIPv4(groupsOf(bare)) : bare;
  if (v4 === '0.0.0.0') return '127.0.0.1';
  if (v4 !== undefined) return v4;
  return new URL(`http://[${bare}]`).hostname.slice(1, -1);
}

/** Mapped and compatible (RFC 4291), NAT64 (RFC 6052) and 6to4 (RFC 3056) addresses. */
function embeddedIPv4(groups: readonly number[]): string | undefined {
  const start = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(':');
  const [, , , , , , high = 0, low = 0] = groups;
  if (start === '0:0:0:0:0:0' && high === 0 && low === 1) return '127.0.0.1';
  if (['0:0:0:0:0:ffff', '0:0:0:0:0:0', '64:ff9b:0:0:0:0'].includes(start)) return dotted(high, low);
  return groups[0] === 0x2002 ? dotted(groups[1] ?? 0, groups[2] ?? 0) : undefined;
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}

/** The eight groups of an IPv6 address; the URL parser has already made its text uniform. */
function groupsOf(ip: string): number[] {
  const [left = '', right] = new URL(`http://[${ip}]`).hostname.slice(1, -1).split('::');
  const numbers = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [before, after] = [numbers(left), numbers(right ?? '')];
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}
