// A serial line, 8 bits, no parity, one stop bit; DIVIDER clock cycles a bit.
module snn_uart #(
    parameter DIVIDER = 104
) (
    input wire clk,
    input wire reset,
    input wire rx,
    output wire tx,
    output reg in_valid,        // a byte has come: for one cycle
    output wire [7:0] in_data,
    input wire out_valid,
    output wire out_ready,
    input wire [7:0] out_data
);
    localparam COUNT = $clog2(DIVIDER);
    localparam LAST = DIVIDER - 1, MIDDLE = DIVIDER / 2;

    // a start bit, then samples in the middle of every bit
    reg [1:0] line;
    reg [COUNT-1:0] rx_count;
    reg [3:0] rx_bits;
    reg [8:0] received;
    assign in_data = received[7:0];
    always @(posedge clk) begin
        line <= {line[0], rx};
        in_valid <= 1'b0;
        rx_count <= rx_count == LAST[COUNT-1:0] ? 0 : rx_count + 1'b1;
        if (rx_bits == 0) begin
            rx_count <= 0;
            if (!line[1]) rx_bits <= 4'd10;
        end else if (rx_count == MIDDLE[COUNT-1:0]) begin
            received <= {line[1], received[8:1]};
            rx_bits <= rx_bits - 1'b1;
            in_valid <= rx_bits == 4'd2;
            // the start bit has to last, the stop bit ends the byte half a bit early
            if (rx_bits == 4'd10 && line[1]) rx_bits <= 0;
        end
        if (reset) begin
            rx_bits <= 0;
            line <= 2'b11;
        end
    end

    reg [COUNT-1:0] tx_count;
    reg [3:0] tx_bits;
    reg [9:0] sent;
    assign tx = sent[0];
    assign out_ready = tx_bits == 0;
    always @(posedge clk) begin
        tx_count <= tx_count == LAST[COUNT-1:0] ? 0 : tx_count + 1'b1;
        if (tx_bits == 0) begin
            tx_count <= 0;
            if (out_valid) begin
                sent <= {1'b1, out_data, 1'b0};
                tx_bits <= 4'd10;
            end
        end else if (tx_count == LAST[COUNT-1:0]) begin
            sent <= {1'b1, sent[9:1]};
            tx_bits <= tx_bits - 1'b1;
        end
        if (reset) begin
            tx_bits <= 0;
            sent <= 10'h3ff;
        end
    end
endmodule
