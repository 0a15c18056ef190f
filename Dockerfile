# The command in an image: docker build -t skykv . && docker run --rm skykv version
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /skykv ./cmd/skykv

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /skykv /skykv
USER 65534:65534
ENTRYPOINT ["/skykv"]
