# The server as an image: wheels are built where a compiler is, and run where there is none.
# The first stage's compiler options suit Python 3.11 and 3.12; 3.13 needs one more, see ENGINE_CC in the Makefile.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-bookworm AS wheels
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY engine engine
COPY server server
RUN CC="gcc -O2" pip wheel --no-cache-dir --no-binary durable-rules --wheel-dir /wheels '.[tracing]'

FROM python:${PYTHON_VERSION}-slim-bookworm
LABEL org.opencontainers.image.title="treatment-eligibility" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index /wheels/*.whl \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin eligibility \
    && install --directory --owner=eligibility --group=eligibility --mode=0700 \
       /var/lib/eligibility /var/lib/eligibility/log /var/lib/eligibility/keys /var/lib/eligibility/signer
COPY rules /opt/eligibility/rules
# Every setting of the server may come as ELIGIBILITY_...; these are what an image can know.
ENV ELIGIBILITY_LISTEN=0.0.0.0:50051 \
    ELIGIBILITY_RULES=/opt/eligibility/rules \
    ELIGIBILITY_LOG=sqlite:/var/lib/eligibility/log/log.db \
    ELIGIBILITY_KEYS=sqlite:/var/lib/eligibility/keys/keys.db \
    ELIGIBILITY_WRAPPING_KEY=/var/lib/eligibility/keys/wrapping.key \
    ELIGIBILITY_SIGNER=/var/lib/eligibility/signer/state \
    ELIGIBILITY_SIGNING_KEY=/var/lib/eligibility/signer/signing.key \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/eligibility
EXPOSE 50051
# Where the server speaks TLS, ELIGIBILITY_PROBE_CA names the certificates the probe trusts.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "server.probe", "127.0.0.1:50051"]
ENTRYPOINT ["eligibility-server"]
