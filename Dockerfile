# The server as a small image. Another base with Node.js 24 and npm serves as well:
#   docker build --build-arg NODE_IMAGE=registry.example.com/node:24 -t towline .
ARG NODE_IMAGE=node:24.21.0-alpine

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The optional packages bring a Node.js for machines without the right one; the base has it already. Type declarations
# and source maps are half of the rest and are never read at run time. `npm ci` refuses a lock file that lacks packages
# of other platforms, so this is `npm install`: it takes the locked versions too and leaves the lock file alone.
RUN npm install --no-save --omit=dev --omit=optional --ignore-scripts \
    && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -exec rm {} + \
    && mkdir /data

FROM ${NODE_IMAGE}
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 TOWLINE_DATA=/data
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY schemas ./schemas
COPY src ./src
# By number, because other bases may not name the user. A new volume on /data takes over its owner.
COPY --from=dependencies --chown=1000:1000 /data /data
USER 1000:1000
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "src/main.ts"]
