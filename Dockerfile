# The operator as one static program in an empty image. On Alpine the host's target is musl, which links statically.
#
#   docker build -t REGISTRY/dask-azureml-operator:0.1.0 \
#     --build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD) .

# It brings a C compiler, musl's headers and the certificates of public authorities: nothing is installed beside it.
FROM rust:1.95.0-alpine AS build
# The image's own toolchain: rust-toolchain.toml would fetch clippy and rustfmt.
ENV RUSTUP_TOOLCHAIN=1.95.0
# Writes the list of crates into the program, where scanners of images find it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked --version 0.7.7 cargo-auditable
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
# Not built: Cargo.toml names them, so cargo wants to see them.
COPY azure-simulator azure-simulator
COPY benches benches
COPY src src
ARG REVISION=""
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    DASK_AZUREML_REVISION="${REVISION}" \
    cargo auditable build --release --locked --package dask-azureml-operator --bin dask-azureml-operator \
    && cp target/release/dask-azureml-operator /dask-azureml-operator

FROM scratch
ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="dask-azureml-operator" \
      org.opencontainers.image.description="Kubernetes operator that makes a DaskCluster manifest true on Azure Machine Learning" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /dask-azureml-operator /dask-azureml-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/dask-azureml-operator"]
CMD ["run"]
