# The operator as one static program in an empty image. On Alpine the host's target is musl, which links statically.
#
#   docker build -t REGISTRY/dask-azureml-operator:0.1.0 .

FROM rust:1.95.0-alpine AS build
RUN apk add --no-cache ca-certificates gcc make musl-dev
# The image's own toolchain: rust-toolchain.toml would fetch clippy and rustfmt.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
# Not built: the manifests name them, so cargo wants to see them.
COPY azure-simulator azure-simulator
COPY benches benches
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package dask-azureml-operator --bin dask-azureml-operator \
    && cp target/release/dask-azureml-operator /dask-azureml-operator

FROM scratch
LABEL org.opencontainers.image.title="dask-azureml-operator" \
      org.opencontainers.image.description="Kubernetes operator that makes a DaskCluster manifest true on Azure Machine Learning" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /dask-azureml-operator /dask-azureml-operator
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/dask-azureml-operator"]
CMD ["run"]
